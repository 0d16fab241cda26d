"""Hosts are enrolled, looked at, given another key and removed."""

__all__ = ["enrol", "import_qb_backup", "overview", "remove", "rotate_key"]
