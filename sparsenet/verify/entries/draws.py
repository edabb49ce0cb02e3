"""Arguments drawn for comparisons."""

import numpy as np


def away_from_ties(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Distinct numbers at least 1e-2 apart from each other, and 5e-3 from zero: kinks and ties are far away.

    Examples
    --------
    >>> sorted(away_from_ties(np.random.default_rng(0), (2, 2)).ravel().tolist())
    [-0.015, -0.005, 0.005, 0.015]
    """
    size = int(np.prod(shape))
    values = (rng.permutation(size) - size // 2 + 0.5) * 1e-2
    return values.reshape(shape)


def some_mask(rng: np.random.Generator, shape: tuple[int, ...], kept: float = 0.5) -> np.ndarray:
    """A mask that keeps about this part, and prunes something.

    Examples
    --------
    >>> some_mask(np.random.default_rng(0), (4, 8)).dtype
    dtype('bool')
    """
    mask = rng.random(shape) < kept
    mask.reshape(-1)[int(rng.integers(mask.size))] = False
    return mask
