"""A repository made again what it is in one of its snapshots."""
