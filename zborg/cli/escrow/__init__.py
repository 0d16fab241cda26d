"""The commands of escrow."""
