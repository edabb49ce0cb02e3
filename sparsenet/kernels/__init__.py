"""Floor 2: arrays in, arrays out. Each file is one operation of a network, or how its operands are cut and packed."""
