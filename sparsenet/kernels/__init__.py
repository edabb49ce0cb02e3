"""Floor 2: arrays in, arrays out. Every Numba kernel of the package is here, each file complete in itself."""
