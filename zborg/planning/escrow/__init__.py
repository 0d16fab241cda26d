"""Whether a sealed key was proved in time, and whether an answer may count. Pure."""

__all__ = ["answers", "due"]
