"""What an enrolment or another key changes, and what a host answers of itself. Pure."""

__all__ = ["accept_line", "agent_version", "enrol", "import_qb_backup", "rotate_key"]
