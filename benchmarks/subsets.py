"""Parts of data sets, for runs that have no time for all of them."""

import sparsenet as sn
from sparsenet.data.datasets import positions_in_class


def part_of(split, count):
    """The first images of each class, `count` in all."""
    chosen = positions_in_class(split.y) < count // 10
    return sn.Split(split.x[chosen], split.y[chosen])
