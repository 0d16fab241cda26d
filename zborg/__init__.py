"""zborg: the life of self-hosted borg backups. docs/design.md draws the floors."""
