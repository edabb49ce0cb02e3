"""Floor 3: the dense network, every backward pass written by hand."""
