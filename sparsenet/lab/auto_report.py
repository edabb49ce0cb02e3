"""What `auto_prune` tried, what it took, and why it stopped."""

from dataclasses import asdict, dataclass

from .budget import Budget, describe_cost
from .cost_table import short_name
from .sensitivity import Sensitivity
from .tables import format_table
from .task import describe_metric


@dataclass(frozen=True)
class Try:
    """An allocation that was tried.

    Attributes
    ----------
    asked, predicted, measured : float
        Cost that the dynamic programme was given, what the table predicts for its choice, and what the real plan, file
        or count gives.
    accuracy : float or None
        On the validation data, once retrained; None where it was measured only.
    kept : bool
        Whether it is within the budget; of a time, on a machine as fast as it was for the table.
    drift : float
        Time of a network of the table, measured in turn with this one, over that in the table: how much slower the
        machine was. 1 for other costs.
    sparsities : dict
        By unit of decision.
    """

    asked: float
    predicted: float
    measured: float
    accuracy: float | None
    kept: bool
    drift: float
    sparsities: dict[str, float]

    @property
    def ratio(self) -> float:
        """Measured over predicted, on a machine as fast as it was for the table."""
        return self.steady / self.predicted

    @property
    def steady(self) -> float:
        """Measured, with the drift taken out."""
        return self.measured / self.drift


@dataclass(frozen=True)
class AutoPruneReport:
    """What `auto_prune` was asked for, the tables it used, what it tried, and why it stopped.

    Attributes
    ----------
    tries : tuple of Try
    chosen : Try or None
        The one whose network is returned; None where that is the network as it was given.
    accuracy_before : float
        On the validation data.
    metric : str
        What the accuracies are, where another metric was given.
    """

    budget: Budget
    sensitivity: Sensitivity
    tries: tuple[Try, ...]
    chosen: Try | None
    accuracy_before: float
    stopped: str
    metric: str = "accuracy"

    def to_json(self) -> dict:
        """The report as plain numbers."""
        found = {"budget": asdict(self.budget), "accuracy_before": self.accuracy_before, "stopped": self.stopped}
        found |= {"metric": self.metric}
        tried = {"tries": [asdict(each) | {"ratio": each.ratio} for each in self.tries]}
        tried |= {"chosen": self.chosen and asdict(self.chosen) | {"ratio": self.chosen.ratio}}
        return found | tried | {"sensitivity": self.sensitivity.to_json()}

    def __str__(self) -> str:
        """The tries with prediction beside measurement, and the sparsity of each layer."""
        kind = self.budget.kind
        rows = [("try", "predicted", "measured", "drift", "ratio", self.metric, "within the budget")]
        for number, each in enumerate(self.tries, 1):
            judged = "" if each.accuracy is None else describe_metric(self.metric, each.accuracy)
            costs = (describe_cost(kind, each.predicted), describe_cost(kind, each.measured))
            rows.append(
                (str(number), *costs, f"{each.drift:.2f}", f"{each.ratio:.3f}", judged, "yes" if each.kept else "no")
            )
        before = describe_metric(self.metric, self.accuracy_before)
        lines = [f"budget: {self.budget}; {self.metric} before it {before}", format_table(rows)]
        if self.chosen:
            own = (f"{short_name(name)} {100 * value:.1f} %" for name, value in self.chosen.sparsities.items())
            lines.append(f"chosen: {', '.join(own)}")
        return "\n".join([*lines, f"stopped: {self.stopped}"])
