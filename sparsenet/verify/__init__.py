"""Floor 5: formulas against their proofs: `definitions` has slow independent ones."""
