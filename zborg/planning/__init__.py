"""Pure decisions: facts in, plans and findings out. No I/O and no clock."""
