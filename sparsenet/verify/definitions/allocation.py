"""How much of each layer stays, by halving an interval and by counting."""

import math
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]


def erk_densities(shapes: Shapes, density: float) -> dict[str, float]:
    """min(1, e r_l) with e found by halving: a solver that knows no set of full layers.

    Examples
    --------
    >>> {name: round(found, 9) for name, found in erk_densities({"a": (3, 4), "b": (10, 10)}, 0.5).items()}
    {'a': 1.0, 'b': 0.44}
    """
    wanted = density * sum(map(math.prod, shapes.values()))
    low, high = 0.0, 1e6
    for _ in range(200):
        e = (low + high) / 2
        got = sum(min(math.prod(s), e * sum(s)) for s in shapes.values())
        low, high = (e, high) if got < wanted else (low, e)
    return {name: min(1.0, high * sum(s) / math.prod(s)) for name, s in shapes.items()}


def erk_sparsities(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """All weights that stay handed out one by one: each to the layer that is farthest below its share, the first."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    kept = total - round(sparsity * total)
    shares = {name: found * sizes[name] for name, found in erk_densities(shapes, kept / total).items()}
    given = {name: math.floor(round(share, 6)) for name, share in shares.items()}
    while sum(given.values()) < kept:
        below = {name: round(shares[name] - given[name], 6) for name in shapes if given[name] < sizes[name]}
        given[max(below, key=below.__getitem__)] += 1
    return {name: (sizes[name] - given[name]) / sizes[name] for name in shapes}
