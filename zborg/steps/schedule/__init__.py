"""schedule: what starts zborg by time on this machine, shown, installed and removed."""

__all__ = ["step"]
