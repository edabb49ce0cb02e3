"""Distillation: a network learns from another one's outputs, its teacher's, beside the labels (Hinton et al. 2015).

The teacher's logits travel with the labels, as one array, so that the loss is an ordinary one for `fit`:

    y = with_teacher(labels, predict(dense, x))
    fit(pruned, (x, y), loss=distillation(temperature=4, weight=0.5), metric=label_accuracy, ...)
"""

from collections.abc import Callable

import numpy as np

from ..checks import check_float_array, check_fraction, check_plain, check_positive
from .losses import accuracy, log_softmax, softmax_cross_entropy

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def with_teacher(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Targets (N, 1 + K) of distillation: the label of each sample, then the teacher's logits for it.

    Examples
    --------
    >>> with_teacher(np.array([1, 0]), np.array([[0.5, 2.0], [1.0, -1.0]], np.float32)).tolist()
    [[1.0, 0.5, 2.0], [0.0, 1.0, -1.0]]
    """
    check_float_array("logits", logits, ndim=2)
    labels = np.asarray(check_plain("labels", labels))
    if labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(logits)} integers, not {labels.dtype} of shape {labels.shape}")
    return np.column_stack([labels.astype(logits.dtype), logits])


def distillation(*, temperature: float = 4.0, weight: float = 0.5) -> Loss:
    """Loss (logits, targets) -> (value, gradient) for targets of `with_teacher`.

    Parameters
    ----------
    temperature : float
        T > 0: how much both distributions are softened.
    weight : float in [0, 1]
        Of the teacher; the labels have the rest. 0 is `softmax_cross_entropy`.

    Notes
    -----
    With z the logits, t the teacher's, p = softmax(t / T), q = softmax(z / T), a = `weight` (Hinton et al. 2015,
    section 2; the factor T^2 keeps the two gradients of one size when T changes):

    L = (1 - a) CE(z, labels) + a T^2 / N sum_n sum_k p[n,k] (log p[n,k] - log q[n,k])
    dL/dz[n,k] = (1 - a) dCE/dz[n,k] + a T (q[n,k] - p[n,k]) / N

    The divergence from p, rather than the cross-entropy under p: it differs by a constant, has the same gradient, and
    is 0 where the network does as the teacher.

    Examples
    --------
    >>> targets = with_teacher(np.array([0]), np.array([[2.0, 0.0]], np.float32))
    >>> value, gradient = distillation(temperature=2, weight=1)(np.zeros((1, 2), np.float32), targets)
    >>> round(value, 4), [round(number, 4) for number in gradient[0].tolist()]
    (0.4438, [-0.4621, 0.4621])
    """
    t, a = check_positive("temperature", temperature), check_fraction("weight", weight, closed=True)

    def loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        labels, teacher = _split(logits, targets)
        value, gradient = softmax_cross_entropy(logits, labels)
        log_p, log_q = (log_softmax(each / each.dtype.type(t)) for each in (teacher, logits))
        p, q = np.exp(log_p), np.exp(log_q)
        divergence = float((p * (log_p - log_q)).sum(axis=1, dtype=np.float64).mean())
        soft = (q - p) * logits.dtype.type(t / len(logits))
        return (1 - a) * value + a * t**2 * divergence, logits.dtype.type(1 - a) * gradient + logits.dtype.type(
            a
        ) * soft

    def hessian_product(logits: np.ndarray, targets: np.ndarray, tangent: np.ndarray) -> np.ndarray:
        """(1 - a) p (u - p . u) / N + a q (u - q . u) / N for a tangent u: T^2 of the loss and 1 / T^2 cancel."""
        labels = _split(logits, targets)[0]
        hard = softmax_cross_entropy.hessian_product(logits, labels, tangent)
        soft = softmax_cross_entropy.hessian_product(logits / logits.dtype.type(t), labels, tangent)
        return logits.dtype.type(1 - a) * hard + logits.dtype.type(a) * soft

    loss.hessian_product = hessian_product
    loss.__name__ = f"distillation(temperature={t:g}, weight={a:g})"
    return loss


def label_accuracy(logits: np.ndarray, targets: np.ndarray) -> float:
    """`accuracy` for targets of `with_teacher`: by the labels.

    Examples
    --------
    >>> targets = with_teacher(np.array([0, 1]), np.zeros((2, 2), np.float32))
    >>> label_accuracy(np.array([[2.0, 1.0], [2.0, 1.0]], np.float32), targets)
    0.5
    """
    return accuracy(logits, _split(logits, targets)[0])


def _split(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels, the teacher's logits in the type of `logits`)."""
    check_float_array("logits", logits, ndim=2)
    targets = np.asarray(check_plain("targets", targets))
    if targets.dtype.kind != "f" or targets.shape != (len(logits), logits.shape[1] + 1):
        raise ValueError(
            f"targets must be those of with_teacher, of shape {(len(logits), logits.shape[1] + 1)}, "
            f"not {targets.dtype} of shape {targets.shape}"
        )
    if not np.array_equal(targets[:, 0], np.round(targets[:, 0])):
        raise ValueError("targets must hold whole labels in their first column, as with_teacher writes them")
    return targets[:, 0].astype(np.int64), targets[:, 1:].astype(logits.dtype)
