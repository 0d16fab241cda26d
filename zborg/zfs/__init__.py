"""ZFS by its commands or libzfs, and what they print."""
