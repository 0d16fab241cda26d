"""Reaching a machine by SSH: paramiko for short commands, OpenSSH for data."""
