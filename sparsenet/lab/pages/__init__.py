"""Reports to look at: one self-contained HTML file for a run, a bench, a sensitivity."""
