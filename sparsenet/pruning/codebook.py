"""Few values in the place of many: the codebook of a layer's weights by k-means (Deep Compression, Han et al. 2016)."""

import numpy as np

from ..checks import check_count, check_float_array

MOST_BITS = 8
MOST_ROUNDS = 1000  # of 32 clusters of 30,000 normal weights a tenth of that settles


def kmeans_codebook(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(codebook, indices): at most 2^bits centroids, rising, and for each value the index of its own.

    Parameters
    ----------
    values : flat float array
        The weights that a layer keeps. Where they are at most 2^bits different ones these are the codebook.
    bits : int
        1 to 8.

    Returns
    -------
    codebook : array of the values' type
        Centroids that no value is nearest to are left out.
    indices : uint8 array

    Notes
    -----
    min over c and k of  sum_i (w_i - c_{k_i})^2      (eq. 2)

    c_k = min w + (max w - min w) k / (2^bits - 1)    the start: evenly spaced, so that large weights, which are few and
                                                      matter most, have centroids near (section 3.2)
    k_i = argmin_k |w_i - c_k|,   c_k = mean of the w_i with k_i = k     in turn, until no weight changes its cluster

    Of numbers on a line a cluster is a piece of the sorted ones, cut halfway between centroids: both steps are exact.
    A value in the middle between two goes to the lower.

    Examples
    --------
    >>> codebook, indices = kmeans_codebook(np.array([0.0, 9.0, 1.0, 10.0, 2.0]), bits=1)
    >>> codebook.tolist(), indices.tolist(), codebook[indices].tolist()
    ([1.0, 9.5], [0, 1, 0, 1, 0], [1.0, 9.5, 1.0, 9.5, 1.0])
    """
    check_float_array("values", values, ndim=1)
    if check_count("bits", bits) > MOST_BITS:
        raise ValueError(f"bits must be at most {MOST_BITS}, not {bits}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite numbers to have a codebook, and hold NaN or infinity")
    different = np.unique(values)
    if len(different) <= 2**bits:
        return different, np.searchsorted(different, values).astype(np.uint8)
    ordered = np.sort(values).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids, ends = np.linspace(ordered[0], ordered[-1], 2**bits), None
    for _ in range(MOST_ROUNDS):
        before, ends = ends, np.searchsorted(ordered, (centroids[:-1] + centroids[1:]) / 2, side="right")
        if before is not None and np.array_equal(before, ends):
            break
        centroids = _means(ordered, sums, ends, centroids)
    stops = np.array([*ends, len(ordered)])
    used = np.diff(stops, prepend=0) > 0
    largest = ordered[stops[used] - 1]  # of each cluster
    return centroids[used].astype(values.dtype), np.searchsorted(largest, values).astype(np.uint8)


def _means(ordered: np.ndarray, sums: np.ndarray, ends: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The mean of each piece of the sorted values; a centroid without values stays where it is."""
    starts, stops = np.array([0, *ends]), np.array([*ends, len(ordered)])
    counts = stops - starts
    means = (sums[stops] - sums[starts]) / np.maximum(counts, 1)
    inside = np.clip(means, ordered[np.minimum(starts, len(ordered) - 1)], ordered[stops - 1])  # whatever was rounded
    return np.where(counts > 0, inside, centroids)
