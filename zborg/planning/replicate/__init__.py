"""What is sent to a target, and what a refusal of it means. Pure."""

__all__ = ["actions", "facts", "plan", "refusals", "verify"]
