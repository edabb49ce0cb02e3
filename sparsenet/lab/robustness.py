"""What accuracy on clean test images does not show: corrupted images, how honest the probabilities are, agreement."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..checks import check_count, check_data
from ..nn.corruptions import CORRUPTIONS, STRENGTHS
from ..nn.losses import accuracy, agreement, expected_calibration_error
from ..nn.training import Data, Model, predict
from .tables import format_table


@dataclass(frozen=True)
class Robustness:
    """What `robustness` found.

    Attributes
    ----------
    clean : float
        Accuracy without corruption.
    corrupted : dict of tuples
        Accuracy at each strength, by corruption.
    calibration : float
        Expected calibration error without corruption.
    agreement : float or None
        Fraction of the clean samples that get the label that `reference` gives them.
    """

    clean: float
    corrupted: Mapping[str, tuple[float, ...]]
    calibration: float
    agreement: float | None

    @property
    def mean(self) -> float:
        """Mean accuracy over all corruptions and strengths."""
        return float(np.mean(list(self.corrupted.values())))

    @property
    def worst(self) -> float:
        """The lowest accuracy of all."""
        return min(map(min, self.corrupted.values()))

    def __str__(self) -> str:
        head = ["accuracy, %", *(f"strength {strength}" for strength in STRENGTHS), "mean"]
        rows = [
            [name, *(f"{100 * value:.1f}" for value in values), f"{100 * np.mean(values):.1f}"]
            for name, values in self.corrupted.items()
        ]
        lines = [f"clean {self.clean:.2%}, corrupted {self.mean:.2%} on average, {self.worst:.2%} at worst"]
        lines += [f"calibration error {self.calibration:.2%}"]
        lines += [] if self.agreement is None else [f"{self.agreement:.2%} of the labels as the reference's"]
        return "\n".join([format_table([head, *rows]), *lines])


def robustness(
    model: Model,
    data: Data,
    *,
    reference: Model | None = None,
    seed: int = 0,
    batch_size: int = 256,
    threads: int | None = None,
) -> Robustness:
    """Accuracy of a network (or a compiled plan) under every corruption of `nn.corruptions`, in five strengths.

    Parameters
    ----------
    data : (x, y)
        Images and their labels.
    reference : network or plan, optional
        For instance the dense one: how often the model says the same.
    seed : int
        Settles the corruptions: the same images for every model.

    Raises
    ------
    ValueError
        For the targets of a regression.
    """
    x, y = check_data("data", data)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"y of data must be integer labels (N,), not {y.dtype} of {y.shape}: robustness is the accuracy of a "
            "classification; a regression has none, and what turns or moves an image may change its target"
        )
    check_count("seed", seed, at_least=0)
    options = {"batch_size": batch_size, "threads": threads}
    corrupted = {}
    for number, (name, corrupt) in enumerate(CORRUPTIONS.items()):
        found = []
        for strength in STRENGTHS:
            bad = corrupt(x, strength, np.random.default_rng((seed, number, strength)))
            found.append(accuracy(predict(model, bad, **options), y))
        corrupted[name] = tuple(found)
    logits = predict(model, x, **options)
    same = None if reference is None else agreement(logits, predict(reference, x, **options))
    return Robustness(accuracy(logits, y), corrupted, expected_calibration_error(logits, y), same)
