"""zborg schedule."""
