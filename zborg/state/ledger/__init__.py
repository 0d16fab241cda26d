"""The ledger as files: lines and checkpoints in a dataset of the storage, key and frontier on the server."""
