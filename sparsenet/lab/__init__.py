"""Floor 5: what is measured and shown: costs, latency, tables, plots; `experiment` and `bench` are the two runs."""
