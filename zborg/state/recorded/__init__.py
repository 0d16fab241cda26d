"""What the run files say, taken from the history where it was made of these very files: for looking, fast.

Only what a person or a monitor looks at is asked here. What protects data reads the run files (`runs.py`).
"""
