"""What a custodian needs to open a repository's manifest, read on the storage, and opened by borg."""
