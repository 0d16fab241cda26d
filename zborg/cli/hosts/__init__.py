"""zborg host and zborg import."""
