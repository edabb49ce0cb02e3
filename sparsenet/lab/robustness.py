"""What accuracy on clean test images does not show: corrupted images, how honest the probabilities are, agreement."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..checks import check_count, check_data, check_float_array, check_plain
from ..nn.corruptions import CORRUPTIONS, STRENGTHS
from ..nn.losses import accuracy, log_softmax
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
    """
    x, y = check_data("data", data)
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


def agreement(logits: np.ndarray, others: np.ndarray) -> float:
    """Fraction of the samples for which two models (N, K) prefer the same class; a NaN prefers none.

    Examples
    --------
    >>> agreement(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[5.0, 1.0], [2.0, 1.0]]))
    0.5
    """
    for name, each in (("logits", logits), ("others", others)):
        check_float_array(name, each, ndim=2)
    if logits.shape != others.shape or not len(logits):
        raise ValueError(f"others must be of the shape of logits, {logits.shape}, and hold samples, not {others.shape}")
    known = ~(np.isnan(logits) | np.isnan(others)).any(axis=1)
    return float(((logits.argmax(axis=1) == others.argmax(axis=1)) & known).mean())


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """How far the probability of the preferred class is from how often it is right (Naeini et al. 2015).

    Notes
    -----
    p_n = max_k softmax(z[n])[k] falls into bin B_m where (m - 1) / bins < p_n <= m / bins (Guo et al. 2017, eq. 3):

    ECE = sum_m |B_m| / N |accuracy(B_m) - mean p over B_m|

    Examples
    --------
    Two samples with p = 0.9, of which one is right.

    >>> logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1]]))
    >>> round(expected_calibration_error(logits, np.array([0, 1])), 6)
    0.4
    """
    right = _is_right(logits, labels)
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite: NaN and infinity have no probabilities to be judged")
    sure = np.exp(log_softmax(logits.astype(np.float64))).max(axis=1)
    which = np.clip(np.ceil(sure * check_count("bins", bins)).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def _is_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    check_float_array("logits", logits, ndim=2)
    labels = np.asarray(check_plain("labels", labels))
    if labels.shape != logits.shape[:1] or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(logits)} integers, at least one, not {labels.dtype} {labels.shape}")
    return logits.argmax(axis=1) == labels
