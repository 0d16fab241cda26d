"""Version 1 of the JSON form: reports and what outcomes know, written and read."""
