"""Schedules: the sparsity to reach in each round, a list; the last entry is exactly `final`.

Which when: `cubic` unless there is a reason (most goes while the network has much to spare, and the last rounds are
small); `geometric` to compare with lottery tickets; `linear` where each round is to be judged alike; `one_shot` to
compare criteria, or where there is time to retrain once.
"""

from ..checks import check_count, check_fraction


def _check(rounds: int, final: float, initial: float) -> tuple[int, float, float]:
    rounds, final = check_count("rounds", rounds), check_fraction("final", final)
    initial = check_fraction("initial", initial)
    if initial > final:
        raise ValueError(f"initial ({initial}) must not exceed final ({final})")
    return rounds, final, initial


def one_shot(rounds: int = 1, final: float = 0.9, initial: float = 0.0) -> list[float]:
    """The final sparsity in one step; with more rounds, the rest of them retrains only.

    Notes
    -----
    s_t = s_f,  t = 1 ... T

    Examples
    --------
    >>> one_shot(), one_shot(3, 0.8)
    ([0.9], [0.8, 0.8, 0.8])
    """
    rounds, final, _ = _check(rounds, final, initial)
    return [final] * rounds


def linear(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """Equal steps of the total.

    Notes
    -----
    s_t = s_i + (s_f - s_i) t / T,  t = 1 ... T

    Examples
    --------
    >>> linear(4, 1 / 2), linear(2, 0.75, initial=0.25)
    ([0.125, 0.25, 0.375, 0.5], [0.5, 0.75])
    """
    rounds, final, initial = _check(rounds, final, initial)
    return [initial + (final - initial) * t / rounds for t in range(1, rounds)] + [final]


def cubic(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """Large steps first, small ones as the network gets thin.

    Notes
    -----
    s_t = s_f + (s_i - s_f) (1 - t/T)^3,  t = 1 ... T   (Zhu & Gupta 2017, eq. 1)

    Examples
    --------
    >>> cubic(4, 0.5)  # 1 - 27/64, 1 - 1/8, 1 - 1/64 and all of 0.5
    [0.2890625, 0.4375, 0.4921875, 0.5]
    """
    rounds, final, initial = _check(rounds, final, initial)
    return [final + (initial - final) * (1 - t / rounds) ** 3 for t in range(1, rounds)] + [final]


def geometric(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """The same fraction of what remains each round (Frankle & Carbin 2019).

    Notes
    -----
    1 - s_t = (1 - s_i) ((1 - s_f) / (1 - s_i))^(t/T),  t = 1 ... T

    Examples
    --------
    >>> geometric(3, 0.875)  # half of what remains, three times
    [0.5, 0.75, 0.875]
    """
    rounds, final, initial = _check(rounds, final, initial)
    ratio = (1 - final) / (1 - initial)
    return [1 - (1 - initial) * ratio ** (t / rounds) for t in range(1, rounds)] + [final]


SCHEDULES = {"one-shot": one_shot, "linear": linear, "cubic": cubic, "geometric": geometric}
