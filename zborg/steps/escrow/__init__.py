"""Escrow: how each key is sealed, sealed anew, challenges for custodians, and their answers."""

__all__ = ["accept", "challenge", "facts", "overdue", "prove", "reseal", "show"]
