"""What a data set asks for: how networks are trained and judged on it, and how that is told."""

from dataclasses import dataclass

from ..data.datasets import Dataset
from ..nn.losses import accuracy, mean_squared_error, r_squared, softmax_cross_entropy
from ..nn.optimizers import SGD, Adam, Optimizer
from ..nn.training import Loss, Metric


@dataclass(frozen=True)
class Task:
    """Loss, metric and optimiser for a data set.

    Attributes
    ----------
    name : str
        What the metric is called.
    percent : bool
        Whether the metric is a part of the images: R^2 is none.
    optimizer : Optimizer
        What trains `nn.models`. The gradient of a squared error grows with the error, and at no learning
        rate does SGD suit all of them: Adam's steps do not depend on its size.
    """

    loss: Loss
    metric: Metric
    name: str
    percent: bool
    optimizer: Optimizer

    @property
    def judge(self) -> dict[str, Loss | Metric]:
        """The arguments `loss` and `metric` of `fit`, `evaluate`, `iterative_prune` and alike."""
        return {"loss": self.loss, "metric": self.metric}

    def show(self, value: float) -> str:
        """A value of the metric, with its unit."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4f}"


CLASSIFICATION = Task(softmax_cross_entropy, accuracy, "accuracy", True, SGD(lr=0.05, momentum=0.9, weight_decay=5e-4))
REGRESSION = Task(mean_squared_error, r_squared, "R^2", False, Adam(lr=2e-3))


def task_of(data: Dataset) -> Task:
    """A regression where the data set has no classes."""
    return REGRESSION if data.classes is None else CLASSIFICATION
