"""What earlier runs came to: for people, monitors and other programs."""

__all__ = ["history", "html_report", "log", "metrics", "notify", "status"]
