"""What a data set asks for: how networks are trained and judged on it, and how that is told."""

from dataclasses import dataclass

from ..data.datasets import Dataset
from ..nn.losses import accuracy, mean_squared_error, r_squared, softmax_cross_entropy
from ..nn.optimizers import SGD, Adam, Optimizer
from ..nn.training import Loss, Metric


def metric_name(metric: Metric) -> str:
    """What is shown of a metric's name: its function's, but R^2 as it is written."""
    return "R^2" if metric is r_squared else getattr(metric, "__name__", "metric")


def describe_metric(name: str, value: float) -> str:
    """An accuracy in %, any other metric as it is: R^2 is no percentage."""
    return f"{100 * value:.2f} %" if name == metric_name(accuracy) else f"{value:.4f}"


@dataclass(frozen=True)
class Task:
    """Loss, metric and optimiser for a data set.

    Attributes
    ----------
    optimizer : Optimizer
        What trains `nn.models`. The gradient of a squared error grows with the error, and at no learning
        rate does SGD suit all of them: Adam's steps do not depend on its size.
    """

    loss: Loss
    metric: Metric
    optimizer: Optimizer

    @property
    def name(self) -> str:
        """What the metric is called."""
        return metric_name(self.metric)

    @property
    def percent(self) -> bool:
        """Whether the metric is a part of the images: R^2 is none."""
        return self.metric is accuracy

    @property
    def judge(self) -> dict[str, Loss | Metric]:
        """The arguments `loss` and `metric` of `fit`, `evaluate`, `iterative_prune` and alike."""
        return {"loss": self.loss, "metric": self.metric}

    def show(self, value: float) -> str:
        """A value of the metric, with its unit."""
        return describe_metric(self.name, value)


CLASSIFICATION = Task(softmax_cross_entropy, accuracy, SGD(lr=0.05, momentum=0.9, weight_decay=5e-4))
REGRESSION = Task(mean_squared_error, r_squared, Adam(lr=2e-3))


def task_of(data: Dataset) -> Task:
    """A regression where the data set has no classes."""
    return REGRESSION if data.classes is None else CLASSIFICATION
