"""scripts/bench: paired runs, medians, spread and ratios. Never a test: machines differ and are busy."""
