"""What starts zborg by time: the files for systemd or cron, and what becomes of older ones. Pure."""

__all__ = ["plan", "render"]
