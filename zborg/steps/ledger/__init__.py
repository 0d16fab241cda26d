"""The ledger: made by init, shown, checked against witnesses, exported. Audit writes it."""

__all__ = ["begun", "check", "export", "hosts", "show", "store"]
