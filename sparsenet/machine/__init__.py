"""Floor 1: how Numba, vectors, memory and threads are used. No neural network here."""
