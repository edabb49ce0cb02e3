"""What a pruned network may cost, or how much worse it may be: one number that a person states."""

import re
from dataclasses import dataclass, fields

from ..checks import check_fraction, check_positive
from .cost_table import KINDS

UNITS = {
    "latency": ("latency_us", {"us": 1.0, "ms": 1e3, "s": 1e6}),
    "size": ("size_bytes", {"B": 1.0, "KB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20}),
    "macs": ("macs", {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}),
    "drop": ("drop", {"": 0.01, "%": 0.01}),
}


@dataclass(frozen=True)
class Budget:
    """Exactly one limit.

    Attributes
    ----------
    drop : float in [0, 1]
        How far the accuracy may fall: 0.005 is half a point. The cheapest network within it is sought.
    latency_us, size_bytes, macs : float
        Microseconds of a batch, bytes of the file, multiply-adds of a sample: the most accurate network within it.
    cost : str
        What is to be saved where the limit is a drop: "latency_us", "size_bytes" or "macs".
    """

    drop: float | None = None
    latency_us: float | None = None
    size_bytes: float | None = None
    macs: float | None = None
    cost: str = "latency_us"

    def __post_init__(self):
        given = [field.name for field in fields(self) if field.name != "cost" and getattr(self, field.name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a budget has exactly one of drop, {', '.join(KINDS)}, not {' and '.join(given) or 'none'}"
            )
        if self.drop is None:
            check_positive(given[0], self.limit)
        else:
            check_fraction("drop", self.drop, closed=True)
        if self.cost not in KINDS:
            raise ValueError(f"cost must be one of {', '.join(KINDS)}, not {self.cost!r}")

    @property
    def kind(self) -> str:
        """The cost that is limited, or that is to be saved."""
        return self.cost if self.drop is not None else next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def limit(self) -> float:
        """The number that was given."""
        return self.drop if self.drop is not None else getattr(self, self.kind)

    def __str__(self) -> str:
        if self.drop is not None:
            return f"a drop of at most {self.drop:g}, least {describe_kind(self.cost)}"
        return f"at most {describe_cost(self.kind, self.limit)}"


def describe_kind(kind: str) -> str:
    """What a kind of cost is called."""
    return {"latency_us": "time", "size_bytes": "bytes", "macs": "multiply-adds"}[kind]


def describe_cost(kind: str, value: float) -> str:
    """A cost with its unit."""
    shown = f"{value:,.1f}" if kind == "latency_us" else f"{value:,.0f}"
    return f"{shown} {'us' if kind == 'latency_us' else describe_kind(kind)}"


def parse_budget(text: str, *, size_bytes: float, macs: float) -> Budget:
    """A budget from text: "latency=300us", "size=40KB", "macs=10%", "drop=0.5" (points, so half a percent).

    Parameters
    ----------
    size_bytes, macs : float
        Of the dense network, of which percentages are.

    Examples
    --------
    >>> parse_budget("size=40KB", size_bytes=688266, macs=2293000).size_bytes
    40000.0
    >>> parse_budget("macs=10%", size_bytes=688266, macs=2293000).macs
    229300.0
    >>> parse_budget("drop=0.5", size_bytes=688266, macs=2293000).drop
    0.005
    """
    found = re.fullmatch(r"\s*(\w+)\s*=\s*([0-9.]+(?:e[0-9]+)?)\s*([A-Za-z%]*)\s*", text)
    name = found[1] if found else ""
    if name not in UNITS:
        raise ValueError(
            f'a budget is for instance "latency=300us", "size=40KB", "macs=10%" or "drop=0.5", not {text!r}'
        )
    kind, units = UNITS[name]
    units = units | {"%": {"size_bytes": size_bytes / 100, "macs": macs / 100, "drop": 0.01}.get(kind)}
    units = {unit: factor for unit, factor in units.items() if factor is not None}
    if found[3] not in units:
        listed = ", ".join(unit or "no unit" for unit in units)
        raise ValueError(f"the unit of {name} must be one of {listed}, not {found[3]!r} as in {text!r}")
    try:
        number = float(found[2])
    except ValueError:
        raise ValueError(f"a budget needs a number, not {found[2]!r} as in {text!r}") from None
    return Budget(**{kind: number * units[found[3]]})
