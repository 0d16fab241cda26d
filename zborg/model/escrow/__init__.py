"""Sealed keys, challenges and the answers to them."""
