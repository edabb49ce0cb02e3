"""What a run leaves for its report: what it was asked, what it found, the networks and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...engine.peak import measure_peak
from ...engine.plan import Plan
from ...nn.network import Network
from ...nn.training import predict
from ...pruning.cycle import PruneHistory
from ..auto_prune import AutoPruneReport
from ..costs import CostReport
from ..task import Task
from .intervals import wilson


@dataclass(frozen=True)
class StepShare:
    """How a plan runs a layer with weights: the form, the microseconds of a batch, the share of the machine's peak.

    `tried` has what each candidate took when the plan chose, in microseconds.
    """

    name: str
    form: str
    latency_us: float
    share: float
    tried: dict[str, float]


@dataclass(frozen=True)
class RunRecord:
    """What a run leaves for its report.

    Attributes
    ----------
    task : Task
        How networks are judged.
    summary : dict
        As in `summary.json`.
    headline : str
        A sentence that says what was gained.
    arguments : dict
        What the command was given, by the names of its options.
    history, search
        The rounds; with a budget, what was tried instead.
    reports : dict batch -> CostReport
    shares : list of StepShare
        Of the compiled network, for the largest of these batches.
    dense, pruned : Network
    targets : array
        Of the test data: labels, which are integers, or the numbers of a regression.
    outputs : dict of arrays
        What the dense and the pruned network make of the test data.
    validated : int
        Samples that accuracy was judged by, round by round.
    """

    task: Task
    summary: dict
    headline: str
    arguments: Mapping[str, object]
    history: PruneHistory
    search: AutoPruneReport | None
    reports: dict[int, CostReport]
    shares: list[StepShare]
    dense: Network
    pruned: Network
    targets: np.ndarray
    outputs: dict[str, np.ndarray]
    validated: int

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels: then what is measured is a proportion, with an interval of its own."""
        return self.task.percent

    @property
    def metric(self) -> str:
        """What "accuracy" in the summary is."""
        return self.task.name

    def show(self, value: float) -> str:
        """A value of the metric, with its unit."""
        return self.task.show(value)

    def interval(self, value: float, samples: int) -> tuple[float, float] | None:
        """Where a value found on so many samples may be; None for what is no proportion."""
        return wilson(value, samples) if self.classifies else None

    def show_interval(self, value: float, samples: int) -> str:
        """The value with its interval."""
        ends = self.interval(value, samples)
        return self.show(value) + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")


def step_shares(plan: Plan) -> list[StepShare]:
    """How a plan runs its layers with weights, as `Plan.explain` tells it."""
    peak, x = (
        measure_peak() * plan.threads,
        np.random.default_rng(0).random((plan.batch, *plan.input_shape), np.float32),
    )
    runs = [plan.profile(x) for _ in range(6)][1:]
    shares = []
    for step in (step for step in plan.steps if step.form):
        seconds = min(run[step.name] for run in runs)
        tried = {form: 1e6 * taken for form, taken in sorted(step.measured.items(), key=lambda pair: pair[1])}
        shares.append(StepShare(step.name, step.form, 1e6 * seconds, step.macs * plan.batch / seconds / peak, tried))
    return shares


def outputs_of(dense: Network, pruned: Network, x: np.ndarray, threads: int) -> dict[str, np.ndarray]:
    """What the two networks make of samples."""
    return {name: predict(network, x, threads=threads) for name, network in (("dense", dense), ("pruned", pruned))}
