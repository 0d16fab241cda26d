"""The lifecycle, a package or module per step: gather facts, plan, execute, report."""
