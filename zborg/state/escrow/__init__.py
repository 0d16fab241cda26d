"""The hosts' sealed keys, the challenges that were made of them, and the proofs that came back."""
