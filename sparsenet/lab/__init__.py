"""Floor 4: what is measured and shown: costs, latency, tables, plots."""
