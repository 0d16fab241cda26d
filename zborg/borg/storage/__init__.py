"""Repositories as files on the storage: whose they are, and what can be read without a key."""
