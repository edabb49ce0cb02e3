"""The benchmark of Deep Compression: its stages on a small network, and its table by hand."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

import sparsenet as sn

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import deep_compression


@pytest.fixture
def small(digits):
    """Few of the digits, as a data set."""
    return Namespace(train=digits.train, test=digits.test, input_shape=digits.input_shape, classes=digits.classes)


def test_every_stage_is_measured_from_its_file(small, tmp_path, monkeypatch):
    monkeypatch.setattr(deep_compression, "NETWORKS", tmp_path)
    options = Namespace(seed=0, threads=1, epochs=1, retrain_epochs=0, last_epochs=1, shared_epochs=1, shared_lr=1e-4)
    rows = deep_compression.compress("lenet_300_100_smaller", small, options)
    assert [row["stage"] for row in rows] == ["dense", "pruned and retrained", "quantised", "shared weights retrained"]
    for row in rows:
        assert sum(row["bytes_by_layer"].values()) == row["bytes"]
    assert [row["sparsity"] for row in rows] == [0, *[pytest.approx(0.95, abs=1e-4)] * 3]
    dense, pruned, quantised, shared = (row["bytes"] for row in rows)
    assert dense > 10 * pruned > 10 * quantised
    assert shared == pytest.approx(quantised, rel=0.01)
    again = sn.load_network(tmp_path / "lenet_300_100_smaller-0.sparsenet")
    assert (tmp_path / "lenet_300_100_smaller-0.sparsenet").stat().st_size == shared
    for weight in again.weights().values():
        assert len(np.unique(weight.value[weight.mask])) <= 16


def test_the_table_by_hand():
    rows = [
        {"stage": "dense", "sparsity": 0.0, "error": 1.5, "bytes": 1_000_000},
        {"stage": "quantised", "sparsity": 0.925, "error": 1.625, "bytes": 25_000},
    ]
    assert deep_compression.format_table(
        {"first": {"settings": {"model": "lenet_300_100"}, "rows": rows}}
    ).splitlines()[2:] == [
        "| first | dense | 0.0 % | 1.50 % | 1,000,000 | 1 / 1.0 |",
        "| first | quantised | 92.5 % | 1.62 % | 25,000 | 1 / 40.0 |",
        "| first | the paper | | 1.58 % | 27,000 | |",
    ]
