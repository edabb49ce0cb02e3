"""Floor 3: the speed-up. Pruned weights become streams, a network a plan: a table of compiled steps."""
