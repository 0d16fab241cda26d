"""zborg audit, the ledger that it writes, and what builds on both."""
