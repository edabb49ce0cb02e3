"""Floor 5: formulas against their proofs."""
