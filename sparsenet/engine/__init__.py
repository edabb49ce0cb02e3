"""Floor 4: the speed-up. Pruned layers become sparse matrices, a network a plan: a table of compiled steps."""
