"""Floor 5: formulas against slow, independent definitions."""
