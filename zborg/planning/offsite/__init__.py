"""What an off-site's own zborg publishes for its senders. Pure."""

__all__ = ["published_report"]
