"""How much of each layer goes, where that follows from its shape alone."""

import math
from collections.abc import Mapping

from ..checks import check_fraction


def erk_densities(shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, float]:
    """Density of each layer by Erdős-Rényi-Kernel (ERK), for weights of which `density` is kept in all.

    Notes
    -----
    A random graph after Erdős and Rényi with n_in and n_out nodes on its two sides keeps an edge with a probability
    proportional to (n_in + n_out) / (n_in n_out): each node gets about as many edges whatever the layer's size (Mocanu
    et al. 2018). With the kernel counted in (Evci et al. 2020, "RigL", section 3):

    d_l = min(1, e r_l),   r_l = (O + C + kh + kw) / (O C kh kw),   e such that sum_l d_l n_l = density sum_l n_l

    With n_l = O C kh kw, r_l n_l = O + C + kh + kw. Where K is the set of the layers that are full (d_l = 1), e has a
    closed form, e = (density sum_l n_l - sum_K n_l) / sum_{not K} (O + C + kh + kw): layers join K, those of the
    largest r first, as long as this e would give one of the others more than it has.

    Examples
    --------
    n = 12 and 100, r n = 7 and 20. At a density of 0.5, e = 56 / 27 gives the first 14.5 of its 12: it is full, and
    the second keeps the other 44.

    >>> erk_densities({"a": (3, 4), "b": (10, 10)}, 0.5)
    {'a': 1.0, 'b': 0.44}
    """
    check_fraction("density", density, closed=True)
    sizes, sums = ({name: f(shape) for name, shape in shapes.items()} for f in (math.prod, sum))
    kept, full = density * sum(sizes.values()), set()
    while len(full) < len(shapes):
        free = [name for name in shapes if name not in full]
        factor = (kept - sum(sizes[name] for name in full)) / sum(sums[name] for name in free)
        over = {name for name in free if factor * sums[name] > sizes[name]}
        if not over:
            break
        full |= over
    return {name: 1.0 if name in full else factor * sums[name] / sizes[name] for name in shapes}


def erk_sparsities(shapes: Mapping[str, tuple[int, ...]], sparsity: float) -> dict[str, float]:
    """Sparsity of each layer by ERK, for exactly round(sparsity n) of all n weights.

    What a layer keeps is rounded down, and the layers of the largest remainders keep one weight more.

    Examples
    --------
    Half of 6 and 12 weights: 9 are shared 5 : 7, so 3.75 and 5.25, and the first has the larger remainder: 4 and 5.

    >>> {name: round(value, 4) for name, value in erk_sparsities({"a": (2, 3), "b": (3, 4)}, 0.5).items()}
    {'a': 0.3333, 'b': 0.5833}
    """
    check_fraction("sparsity", sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    kept = total - round(sparsity * total)
    exact = {name: density * sizes[name] for name, density in erk_densities(shapes, kept / max(1, total)).items()}
    whole = {name: min(sizes[name], math.floor(number + 1e-9)) for name, number in exact.items()}
    by_remainder = sorted((name for name in shapes if whole[name] < sizes[name]), key=lambda n: whole[n] - exact[n])
    for name in by_remainder[: kept - sum(whole.values())]:
        whole[name] += 1
    return {name: 1 - whole[name] / sizes[name] for name in shapes}
