"""zborg audit, and the ledger that it writes."""
