"""Findings of doctor, each from its facts. Pure."""

__all__ = ["ledger", "memory", "remote", "schedule", "starts", "storage", "this_machine", "walls"]
