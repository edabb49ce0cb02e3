"""Losses and metrics, sample by sample, in float64."""

import math

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log(exp(z[n,k]) / sum_j exp(z[n,j])): as it is defined, no maximum subtracted."""
    out = np.empty(logits.shape)
    for n, row in enumerate(logits.tolist()):
        total = math.fsum(math.exp(z) for z in row)
        out[n] = [math.log(math.exp(z) / total) for z in row]
    return out


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """-1/N sum_n log p[n, labels[n]], p the softmax."""
    logs = log_softmax(logits)
    return -math.fsum(logs[n, label] for n, label in enumerate(labels.tolist())) / len(labels)


def mean_squared_error(output: np.ndarray, target: np.ndarray) -> float:
    """The mean of (y - t)^2 over samples and columns."""
    pairs = zip(output.ravel().tolist(), target.ravel().tolist(), strict=True)
    return math.fsum((y - t) ** 2 for y, t in pairs) / output.size


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The part of the samples whose label's logit no other one exceeds, nor an earlier one equals."""
    hits = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        hits += all(z < row[label] or (z == row[label] and k >= label) for k, z in enumerate(row))
    return hits / len(labels)


def agreement(logits: np.ndarray, others: np.ndarray) -> float:
    """The part of the samples for which the first of the largest numbers stands at the same place in both."""
    alike = 0
    for row, other in zip(logits.tolist(), others.tolist(), strict=True):
        alike += row.index(max(row)) == other.index(max(other))
    return alike / len(logits)


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Each bin's |rate of the right ones - mean probability|, weighted by how many samples are in it."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for logs, label in zip(log_softmax(logits).tolist(), labels.tolist(), strict=True):
        sure = math.exp(max(logs))
        number = next(m for m in range(1, bins + 1) if sure <= m / bins or m == bins)
        members.setdefault(number, []).append((sure, logs.index(max(logs)) == label))
    total = 0.0
    for found in members.values():
        right = sum(hit for _, hit in found) / len(found)
        total += len(found) / len(labels) * abs(right - math.fsum(sure for sure, _ in found) / len(found))
    return total


def r_squared(output: np.ndarray, target: np.ndarray) -> float:
    """1 - sum (y - t)^2 / sum (t - mean t)^2, the mean of each column."""
    missed = spread = 0.0
    for k in range(target.shape[1]):
        mean = math.fsum(target[:, k].tolist()) / len(target)
        for y, t in zip(output[:, k].tolist(), target[:, k].tolist(), strict=True):
            missed += (y - t) ** 2
            spread += (t - mean) ** 2
    return 1 - missed / spread


def distillation(
    logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray, temperature: float, weight: float
) -> float:
    """(1 - a) CE + a T^2 times the mean over samples of KL(p, q), p and q the softmax of both logits by T."""
    p, q = (np.exp(log_softmax(each / temperature)).tolist() for each in (teacher, logits))
    divergences = [
        math.fsum(a * math.log(a / b) for a, b in zip(own, other, strict=True)) for own, other in zip(p, q, strict=True)
    ]
    soft = temperature**2 * math.fsum(divergences) / len(divergences)
    return (1 - weight) * cross_entropy(logits, labels) + weight * soft
