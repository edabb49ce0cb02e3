"""Floor 3: the speed-up. Pruned weights become SciPy CSR arrays, the network a plan of kernels over them."""
