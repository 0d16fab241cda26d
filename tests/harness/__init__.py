"""Real machines on loopback, for the tests and for scripts/demo: an sshd, a backed-up host, joined pipes.

Standard library only, so that the demo needs nothing but Python, OpenSSH and borg.
"""
