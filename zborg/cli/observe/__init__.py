"""zborg status, history, report, log and notify."""
