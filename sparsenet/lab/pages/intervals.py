"""How far a measured accuracy can be trusted: the interval of a proportion."""

from math import sqrt

from ...checks import check_count, check_fraction

Z = 1.959963984540054  # the 97.5 % point of the normal distribution: 95 % lie between -Z and Z


def wilson(accuracy: float, samples: int) -> tuple[float, float]:
    """The Wilson interval (low, high), of 95 %, of an accuracy that was found on so many samples.

    Notes
    -----
    The proportions p for which the one that was found, a of n, lies within z standard deviations sqrt(p (1 - p) / n):

    (a + z^2 / 2n -+ z sqrt(a (1 - a) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    It stays in [0, 1], and has a width at a = 0 and a = 1 too (Wilson, 1927).

    Examples
    --------
    >>> low, high = wilson(0.8, 10)
    >>> f"{low:.4f} {high:.4f}"
    '0.4902 0.9433'
    """
    check_fraction("accuracy", accuracy, closed=True)
    n = check_count("samples", samples)
    centre = accuracy + Z**2 / (2 * n)
    reach = Z * sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2))
    low, high = ((centre + side * reach) / (1 + Z**2 / n) for side in (-1, 1))
    return max(low, 0.0), min(high, 1.0)  # the ends are exact but for the last bit
