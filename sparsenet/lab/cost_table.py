"""What each layer costs at each sparsity: microseconds measured by the engine, bytes in the file, multiply-adds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from ..checks import check_count, check_fraction, check_known, check_positive
from ..engine.compile import compile
from ..engine.folding import fold, pool_behind
from ..engine.plan import Plan
from ..files.checkpoint import count_bytes
from ..machine.threads import available_threads
from ..nn.counting import count_total
from ..nn.layer import Shape
from ..nn.network import Network, chain
from ..pruning.granularity import Arrays
from .cuts import Cuts
from .environment import describe_environment
from .latency import Latency, in_turn, measure
from .tables import describe_batch, format_table

KINDS = ("latency_us", "size_bytes", "macs")
DEFAULT_SPARSITIES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995)


@dataclass(frozen=True)
class UnitCost:
    """What a layer (a dependency group, a whole network) costs: median microseconds of a batch, bytes, MACs a sample.

    `low_us` and `high_us` are the quartiles of the time.
    """

    latency_us: float
    low_us: float
    high_us: float
    size_bytes: float
    macs: float


@dataclass(frozen=True)
class CostTable:
    """Costs by unit of decision and sparsity, with the conditions of the measurement.

    Attributes
    ----------
    sparsities : tuple
        At which it was measured, ascending from 0.
    units : dict of tuples of UnitCost
        One for each sparsity, by the name of the layer or group.
    layers : dict of dicts layer -> share
        The layers whose costs these are the sums of, and which part of each.
    whole : tuple of UnitCost
        Of the whole network, as one plan and one file, with all units at each of the sparsities.

    Notes
    -----
    The cost of a network is taken to be a function of the sum of its units' costs, S = sum_u c_u(s_u): C = f(S), drawn
    through what the whole network takes with all units at s_1, s_2, ...: a line between two of them, and beyond the
    ends one of slope 1. For bytes and multiply-adds f adds a constant. Of the time it takes off the calls
    between two layers, which one plan has not, and adds what is no layer's.
    """

    sparsities: tuple[float, ...]
    units: dict[str, tuple[UnitCost, ...]]
    layers: dict[str, dict[str, float]]
    whole: tuple[UnitCost, ...]
    input_shape: tuple[int, ...]
    batch: int
    threads: int
    environment: dict[str, str]

    def costs(self, kind: str, levels: Sequence[float] | None = None) -> np.ndarray:
        """c_u(s): costs (units, levels) of a kind, linear in s between the measured sparsities."""
        check_kind(kind)
        measured = np.array([[getattr(cost, kind) for cost in row] for row in self.units.values()], np.float64)
        levels = self.sparsities if levels is None else levels
        for level in levels:
            check_fraction("levels", level, high=self.sparsities[-1], closed=True)
        return np.array([np.interp(levels, self.sparsities, row) for row in measured])

    def predict(self, kind: str, sparsities: Mapping[str, float]) -> float:
        """C = f(S): what the whole network costs with its units at these sparsities; those that are not named at 0."""
        check_known("sparsities", sparsities, self.units)
        own = [sparsities.get(name, 0.0) for name in self.units]
        sums, wholes = self._drawn(kind)
        return _follow(float(np.diagonal(self.costs(kind, own)).sum()), sums, wholes)

    def within(self, kind: str, budget: float) -> float:
        """S where f(S) is the budget: what the units may cost in all."""
        sums, wholes = self._drawn(kind)
        return _follow(budget, wholes, sums)

    def _drawn(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The points of f, both coordinates ascending: a time that rises with the sparsity is noise."""
        sums = self.costs(kind).sum(axis=0)[::-1]
        wholes = np.array([getattr(cost, kind) for cost in self.whole[::-1]], np.float64)
        return np.maximum.accumulate(sums), np.maximum.accumulate(wholes)

    def to_json(self) -> dict:
        """The table as plain numbers."""
        return asdict(self)

    def __str__(self) -> str:
        """Microseconds of each unit of decision at each sparsity."""
        rows = [("microseconds", *(f"{100 * s:g} %" for s in self.sparsities))]
        rows += [(short_name(name), *(f"{cost.latency_us:,.1f}" for cost in row)) for name, row in self.units.items()]
        rows.append(("whole network", *(f"{cost.latency_us:,.1f}" for cost in self.whole)))
        return f"{describe_batch(self.batch, self.threads)}\n{format_table(rows)}"


def check_kind(kind: str) -> str:
    """Return a kind of cost that is known."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return kind


def _follow(value: float, along: np.ndarray, drawn: np.ndarray) -> float:
    """The line through ascending points at a value, with slope 1 beyond the ends."""
    inside = min(max(value, along[0]), along[-1])
    return float(np.interp(inside, along, drawn) + value - inside)


def short_name(name: str) -> str:
    """The first layer of a group, and how many more there are."""
    first, *others = name.split(" + ")
    return f"{first} and {len(others)} more" if others else name


def check_sparsities(sparsities: Sequence[float]) -> tuple[float, ...]:
    """Return ascending sparsities, at least one above 0, with a 0 before them."""
    given = tuple(check_fraction("sparsities", sparsity) for sparsity in sparsities)
    if not given or given[-1] == 0 or any(a >= b for a, b in pairwise(given)):
        raise ValueError(f"sparsities must ascend, and one be above 0, not {given}")
    return given if given[0] == 0 else (0.0, *given)


def measure_costs(
    network: Network,
    scores: Arrays,
    cuts: Cuts,
    input_shape: Shape,
    *,
    sparsities: Sequence[float] = DEFAULT_SPARSITIES,
    batch: int = 1,
    threads: int | None = None,
    seconds: float = 0.5,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> CostTable:
    """Measure what each unit of decision costs at each sparsity.

    The network is pruned to the same sparsity everywhere, by the scores, without structures that are gone, and compiled
    as a whole. A layer's time is what its step takes in that plan, with all that is folded into it, one step after
    another: a layer by itself would find its input and its weights in the nearest cache. The plans of all sparsities
    are timed in turn. Bytes are those of the layer in a file of the network, MACs are counted.

    Parameters
    ----------
    seconds : float
        Time to spend on measuring each layer; every program is called six times at least.

    Notes
    -----
    With structures a layer's cost depends on the sparsity of what it reads too, which is taken to be its own: exact for
    the same sparsity everywhere, for others an estimate.
    """
    sparsities = check_sparsities(sparsities)
    check_count("batch", batch)
    check_positive("seconds", seconds)
    threads = available_threads() if threads is None else check_count("threads", threads)
    tell = on_progress or (lambda text, done, total: None)
    pruned = {s: cuts.smallest(cuts.cut(network, scores, dict.fromkeys(cuts.units, s))) for s in sparsities}
    plans, stages = [], len(pruned) + 2
    for number, each in enumerate(pruned.values(), 1):
        tell(f"compiling the network at sparsity {number}/{len(pruned)} ...", number - 1, stages)
        plans.append(compile(each, input_shape, batch=batch, threads=threads))
    names = list(dict.fromkeys(name for shares in cuts.units.values() for name in shares))
    tell(f"measuring {len(names)} layers ...", len(pruned), stages)
    steps = {name: _steps(network, name) for name in names}
    times = _time_layers(plans, steps, seconds * len(names))
    counts = {name: [_counts(each, name, input_shape) for each in pruned.values()] for name in names}
    by_layer = {
        name: [_cost(taken, *count) for taken, count in zip(times[name], counts[name], strict=True)] for name in names
    }
    units = {
        name: tuple(_add({layer: by_layer[layer][k] for layer in shares}, shares) for k in range(len(sparsities)))
        for name, shares in cuts.units.items()
    }
    tell("measuring the whole network ...", len(pruned) + 1, stages)
    whole = tuple(_whole(list(pruned.values()), plans, seconds))
    return CostTable(sparsities, units, cuts.units, whole, tuple(input_shape), batch, threads, describe_environment())


def whole_costs(
    networks: Sequence[Network], input_shape: Shape, *, batch: int, threads: int, seconds: float
) -> list[UnitCost]:
    """What networks cost as they are: times of their plans, in turn, sizes of their files, MACs with kept weights."""
    plans = [compile(network, input_shape, batch=batch, threads=threads) for network in networks]
    return _whole(networks, plans, seconds)


def _whole(networks: Sequence[Network], plans: Sequence[Plan], seconds: float) -> list[UnitCost]:
    latency = measure({number: partial(plan, _input(plan)) for number, plan in enumerate(plans)}, seconds)
    return [
        _cost(latency[number], **count_whole(network, plans[number].input_shape))
        for number, network in enumerate(networks)
    ]


def count_whole(network: Network, input_shape: Shape) -> dict[str, int]:
    """What needs no measuring of a network's cost: bytes of its file, MACs with kept weights."""
    size = sum(count_bytes(network).values())
    return {"size_bytes": size, "macs": count_total(network, input_shape).macs_kept}


def _input(plan: Plan) -> np.ndarray:
    return np.random.default_rng(0).random((plan.batch, *plan.input_shape), np.float32)


def _cost(latency: Latency, size_bytes: int, macs: int) -> UnitCost:
    return UnitCost(latency.median_us, latency.low_us, latency.high_us, size_bytes, macs)


def _add(costs: Mapping[str, UnitCost], shares: Mapping[str, float]) -> UnitCost:
    parts = [[shares[name] * value for value in asdict(cost).values()] for name, cost in costs.items()]
    return UnitCost(*map(sum, zip(*parts, strict=True)))


def _steps(network: Network, name: str) -> tuple[str, ...]:
    """A layer with what a plan folds into it: the steps of the plan that may be its."""
    node = next(node for node in network.nodes if node.name == name)
    names = [name, *fold(network, node).names]
    pool = pool_behind(network, names[-1])
    return (*names, pool.name) if pool else tuple(names)


def _counts(network: Network, name: str, input_shape: Shape) -> tuple[int, int]:
    """Bytes of a layer, with what is folded into it, in a file, and its multiply-adds."""
    node = next(node for node in network.nodes if node.name == name)
    layer = chain({each: network[each] for each in _steps(network, name)})
    sizes = {key: size for key, size in count_bytes(layer).items() if key in layer.layers()}
    return sum(sizes.values()), count_total(layer, network.shapes(input_shape)[node.inputs[0]]).macs_kept


def _time_layers(
    plans: Sequence[Plan], steps: Mapping[str, tuple[str, ...]], seconds: float
) -> dict[str, list[Latency]]:
    """Of each layer, the time it takes in each plan, where it finds in the caches what those before it have left."""
    profiles = in_turn({number: partial(plan.profile, _input(plan)) for number, plan in enumerate(plans)}, seconds)
    return {
        name: [Latency.of([sum(run.get(step, 0.0) for step in own) for run in runs]) for runs in profiles.values()]
        for name, own in steps.items()
    }
