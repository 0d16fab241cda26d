"""Pure decisions, without I/O or clock: facts in, plans and findings out."""
