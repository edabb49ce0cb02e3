"""What pruning saves: parameters, multiply-adds, bytes and time, counted and measured, layer by layer."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from ..checks import check_count, check_positive
from ..engine.compile import compile
from ..engine.plan import Plan
from ..files.checkpoint import count_bytes
from ..machine.threads import available_threads
from ..nn.counting import count_layers, count_total
from ..nn.network import Network
from ..pruning.surgery import remove_pruned_structures
from .latency import Latency, in_turn, measure
from .tables import describe_batch, format_table

TOTAL = "total"
STAGES = 5  # four forms to compile, and to measure them
HEADER = (
    *("layer", "parameters", "kept", "MACs", "kept", "bytes", "pruned"),
    *("dense", "masked", "compact", "sparse", "theory", "measured"),
)


@dataclass(frozen=True)
class Costs:
    """Costs of one layer, or of the whole network.

    Attributes
    ----------
    parameters, nonzeros : int
        All parameters, and those that no mask removes.
    macs, macs_kept : int
        Multiply-adds for one sample: weights x output positions, with all weights and with the kept ones.
    bytes_dense, bytes_sparse : int
        Bytes in the saved files of the dense and of the masked network (the real files).
    latency : dict form -> Latency
        Measured time of one batch in the dense, masked, compacted and sparse form.
    """

    parameters: int
    nonzeros: int
    macs: int
    macs_kept: int
    bytes_dense: int
    bytes_sparse: int
    latency: dict[str, Latency]

    @property
    def theoretical_speedup(self) -> float:
        """macs / macs_kept: what the arithmetic alone would give (infinite for an empty layer, NaN for none)."""
        return self.macs / self.macs_kept if self.macs_kept else float("inf") if self.macs else float("nan")

    def speedup(self, form: str = "sparse") -> float:
        """Measured: median time of the dense form / median time of this one. Below 1 is a loss."""
        return self.latency["dense"].median_us / self.latency[form].median_us


@dataclass(frozen=True)
class CostReport:
    """Costs by layer and in total, with the conditions of the measurement.

    Where one of the plans runs a pooling layer within the layer before it, the two are one row, under the name of the
    first: `together` tells of which layers. `forms` says how the sparse plan runs each layer with weights.
    """

    layers: dict[str, Costs]
    total: Costs
    batch: int
    threads: int
    forms: dict[str, str]
    together: dict[str, tuple[str, ...]]

    def to_json(self) -> dict:
        """The report as plain numbers, with the speed-ups worked out."""

        def plain(costs: Costs) -> dict:
            theory = costs.theoretical_speedup
            ratios = {form: costs.speedup(form) for form in costs.latency if form != "dense"}
            return asdict(costs) | {
                "theoretical_speedup": theory if np.isfinite(theory) else None,
                "measured_speedup": ratios,
            }

        layers = {name: plain(costs) for name, costs in self.layers.items()}
        conditions = {"batch": self.batch, "threads": self.threads, "sparse_forms": self.forms}
        return conditions | {"layers": layers, "together": self.together, TOTAL: plain(self.total)}

    def __str__(self) -> str:
        """Layer by layer and in total: counts, bytes of the files, microseconds, theoretical and measured speed-up."""
        rows = [HEADER]
        rows += [_row("+".join([name, *self.together.get(name, ())]), costs) for name, costs in self.layers.items()]
        rows.append(_row(TOTAL, self.total))
        spread = "; ".join(
            f"{form} {latency.median_us:,.0f} ({latency.low_us:,.0f} to {latency.high_us:,.0f})"
            for form, latency in self.total.latency.items()
        )
        chosen = ", ".join(f"{name} {form}" for name, form in self.forms.items())
        conditions = describe_batch(self.batch, self.threads)
        return "\n".join(
            [
                f"microseconds per {conditions}; speed-up of the sparse form over the dense one",
                format_table(rows),
                f"whole network, median (quartiles), us: {spread}",
                f"the sparse form runs: {chosen}",
            ]
        )


def _row(name: str, costs: Costs) -> tuple[str, ...]:
    theory = f"{costs.theoretical_speedup:.1f}x" if costs.macs else ""
    return (
        name,
        *(f"{n:,}" if n else "" for n in (costs.parameters, costs.nonzeros, costs.macs, costs.macs_kept)),
        *(f"{n:,}" if n else "" for n in (costs.bytes_dense, costs.bytes_sparse)),
        *(f"{latency.median_us:,.0f}" for latency in costs.latency.values()),
        theory,
        f"{costs.speedup():.2f}x",
    )


def cost_report(
    network: Network,
    input_shape: tuple[int, ...],
    *,
    dense: Network | None = None,
    compacted: Network | None = None,
    batch: int = 64,
    threads: int | None = None,
    seconds: float = 1.0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> CostReport:
    """Count and measure what the masks of a network save.

    All four forms run as compiled plans: batch normalisation folded, buffers reused, the same kernels for dense layers.
    So the ratios show what sparsity brings, and nothing else. "masked" is the masked network run densely (a mask alone
    makes nothing faster), "compacted" the smaller dense network, "sparse" what `compile` chooses.

    Parameters
    ----------
    dense, compacted : Network, optional
        The network before pruning, and after surgery; unless given the same network with all weights drawn anew (time
        does not depend on their values), and `remove_pruned_structures(network)`.
    batch, threads : int
        Conditions of the measurement (threads None: all available ones).
    seconds : float
        Time to spend on measuring whole networks, and again on their layers.
    on_progress : function (text, done, total), optional
        Told what is being done, and how much of it is: compiling and measuring take seconds.
    """
    check_count("batch", batch)
    check_positive("seconds", seconds)
    threads = available_threads() if threads is None else check_count("threads", threads)
    dense = unpruned(network) if dense is None else dense
    compacted = remove_pruned_structures(network) if compacted is None else compacted
    for argument, other in (("dense", dense), ("compacted", compacted)):
        if list(other.layers()) != list(network.layers()):
            raise ValueError(f"{argument} must have the layers of network: {', '.join(network.layers())}")
    tell = on_progress or (lambda text, done, total: None)
    forms = {"dense": (dense, "dense"), "masked": (network, "dense"), "compacted": (compacted, "dense")}
    forms["sparse"] = (network, "auto")
    plans = {}
    for before, (name, (net, form)) in enumerate(forms.items()):
        on_layer = partial(_tell_layer, tell, name, before)
        plans[name] = compile(net, input_shape, batch=batch, threads=threads, form=form, on_layer=on_layer)
    tell(f"measuring batches of {batch} ...", (STAGES - 1) * len(network.nodes), STAGES * len(network.nodes))
    together = _together(plans)
    whole, by_row = _measure(plans, together, batch, seconds)
    bytes_dense, bytes_sparse = count_bytes(dense), count_bytes(network)

    layers = {}
    for name, counts in count_layers(network, input_shape).items():
        if name in by_row["dense"]:
            sizes = (bytes_dense.get(name, 0), bytes_sparse.get(name, 0))
            layers[name] = Costs(*counts, *sizes, {form: by_row[form][name] for form in plans})
    sizes = (sum(bytes_dense.values()), sum(bytes_sparse.values()))
    total = Costs(*count_total(network, input_shape), *sizes, whole)
    forms = {step.name: step.form for step in plans["sparse"].steps if step.form}
    return CostReport(layers, total, batch, threads, forms, together)


def _tell_layer(
    tell: Callable[[str, int, int], None], form: str, before: int, name: str, number: int, count: int
) -> None:
    tell(f"compiling the {form} form, layer {number}/{count}: {name} ...", before * count + number - 1, STAGES * count)


def unpruned(network: Network) -> Network:
    """The network without masks, the pruned weights drawn anew: a dense network of the same shape to time."""
    dense, rng, masks = network.copy(), np.random.default_rng(0), network.masks()
    for parameter in [*dense.parameters().values(), *dense.weights().values()]:
        parameter.mask = None
    for name, layer in dense.weighted().items():
        weight = layer.weight.value
        drawn = rng.standard_normal(weight.shape).astype(weight.dtype) / np.sqrt(weight[0].size)
        layer.set_weight(np.where(masks[name], weight, drawn))
    return dense


def _together(plans: dict[str, Plan]) -> dict[str, tuple[str, ...]]:
    """The steps of some plans that are part of another step in one of them, by the name of that step."""
    steps = {step.name for plan in plans.values() for step in plan.steps}
    fused = {}
    for step in (step for plan in plans.values() for step in plan.steps):
        inside = tuple(name for name in step.folded if name in steps)
        fused |= {step.name: inside} if inside else {}
    return fused


def _measure(
    plans: dict[str, Plan], together: dict[str, tuple[str, ...]], batch: int, seconds: float
) -> tuple[dict[str, Latency], dict[str, dict[str, Latency]]]:
    """Latency of each whole plan, and of each of its rows: a step, with those that are part of it in another plan."""
    x = np.random.default_rng(0).random((batch, *plans["dense"].input_shape), np.float32)
    whole = measure({form: partial(plan, x) for form, plan in plans.items()}, seconds)
    inside = {name for names in together.values() for name in names}
    rows = [step.name for step in plans["dense"].steps if step.name not in inside]
    parts = {name: (name, *together.get(name, ())) for name in rows}
    profiles = in_turn({form: partial(plan.profile, x) for form, plan in plans.items()}, seconds)
    return whole, {
        form: {name: Latency.of([sum(run.get(part, 0) for part in own) for run in runs]) for name, own in parts.items()}
        for form, runs in profiles.items()
    }
