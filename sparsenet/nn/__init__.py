"""Floor 2: the dense network, every backward pass written by hand."""
