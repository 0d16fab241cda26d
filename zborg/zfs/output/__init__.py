"""What zfs and zpool print, read into types. Pure."""
