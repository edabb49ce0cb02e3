"""Which classes are taken for which: the confusion matrix, as a table."""

import numpy as np

from .page import Markup, captioned, join, row, tag

MOST = 40  # classes: a larger table says nothing to a reader


def confusion(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """How many samples of each class (rows) are taken for each (columns).

    Examples
    --------
    >>> confusion(np.array([0, 1, 1]), np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])).tolist()
    [[1, 0], [1, 1]]
    """
    classes = outputs.shape[1]
    return np.bincount(labels.astype(np.int64) * classes + outputs.argmax(axis=1), minlength=classes**2).reshape(
        classes, classes
    )


def confusion_table(name: str, counts: np.ndarray) -> Markup:
    """A confusion matrix as a table; right ones and wrong ones are tinted, the more the more there are."""
    caption = f"The {name} network: a row for each true class, a column for what it is taken for"
    head = tag("tr", tag("th", "true", scope="col"), *(tag("th", k, scope="col") for k in range(len(counts))))
    rows = [
        tag("tr", tag("th", k, scope="row"), *(_cell(int(n), n / max(own.sum(), 1), j == k) for j, n in enumerate(own)))
        for k, own in enumerate(counts)
    ]
    return captioned(tag("table", tag("thead", head), tag("tbody", *rows)), caption, "matrix")


def _cell(count: int, part: float, right: bool) -> Markup:
    if not count:
        return tag("td", "·", class_="soft")
    return tag("td", count, class_="right" if right else "wrong", style=f"--part: {100 * part:.0f}%")


def describe_changes(labels: np.ndarray, dense: np.ndarray, pruned: np.ndarray) -> str:
    """What pruning changed: how many are wrong before and after, and how many of them are others.

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> describe_changes(np.zeros(3, int), np.array([right, wrong, right]), np.array([right, right, wrong]))
    'Of 3 test images the dense network gets 1 wrong, the pruned one 1: 1 are newly wrong, 1 newly right.'
    """
    before, after = (outputs.argmax(axis=1) != labels for outputs in (dense, pruned))
    return (
        f"Of {len(labels):,} test images the dense network gets {before.sum():,} wrong, the pruned one "
        f"{after.sum():,}: {(after & ~before).sum():,} are newly wrong, {(before & ~after).sum():,} newly right."
    )


def confusions(labels: np.ndarray, outputs: dict[str, np.ndarray]) -> Markup:
    """The confusion of the dense and the pruned network side by side, and what changed."""
    parts = [tag("p", describe_changes(labels, outputs["dense"], outputs["pruned"]))]
    if outputs["dense"].shape[1] <= MOST:
        tables = (confusion_table(name, confusion(labels, each)) for name, each in outputs.items())
        parts.append(row(*tables))
    return join(parts)
