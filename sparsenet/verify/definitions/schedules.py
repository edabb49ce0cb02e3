"""Schedules of pruning, round by round: each from what it does in a round, not from its closed form."""


def one_shot(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """All of it at once, then nothing."""
    return [final for _ in range(rounds)]


def linear(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """The same step again and again."""
    reached, steps = initial, []
    for _ in range(rounds):
        reached += (final - initial) / rounds
        steps.append(reached)
    return steps


def cubic(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """What is missing is a cube of `rounds` blocks' edge; each round leaves the cube with an edge one block shorter."""
    blocks = rounds**3
    return [
        final - (final - initial) * (rounds - t) * (rounds - t) * (rounds - t) / blocks for t in range(1, rounds + 1)
    ]


def geometric(rounds: int, final: float, initial: float = 0.0) -> list[float]:
    """Each round keeps the same part of what is left: the part, found by halving, that ends at `final`."""
    low, high = 0.0, 1.0
    for _ in range(200):
        part = (low + high) / 2
        left = 1 - initial
        for _ in range(rounds):
            left *= part
        low, high = (low, part) if left > 1 - final else (part, high)
    left, steps = 1 - initial, []
    for _ in range(rounds):
        left *= low
        steps.append(1 - left)
    return steps
