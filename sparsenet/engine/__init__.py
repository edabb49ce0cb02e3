"""Floor 4: the speed-up. Pruned weights become streams, a network a plan: a table of compiled steps."""
