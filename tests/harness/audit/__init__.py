"""Segments, a second Merkle tree, and a vault with a ledger."""
