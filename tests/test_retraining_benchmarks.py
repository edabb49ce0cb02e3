"""The benchmarks of robustness and distillation: equal epochs for all that are compared, and the tables by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

import sparsenet as sn

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import distillation
import robustness


@pytest.fixture
def few(digits):
    return robustness.part_of(digits.train, 200)


def test_a_part_has_as_many_of_each_class(digits, few):
    assert np.bincount(few.y).tolist() == [20] * 10
    assert np.array_equal(few.x[few.y == 3], digits.train.x[digits.train.y == 3][:20])


def trained_as_told(monkeypatch, few, function):
    """(epochs, seed) of every call of `fit`, and what came out."""
    calls, fit = [], sn.fit

    def noted(network, data, *, epochs, seed, **options):
        calls.append((epochs, seed))
        return fit(network, data, epochs=epochs, seed=seed, **options)

    monkeypatch.setattr(sn, "fit", noted)
    return calls, function()


def test_all_that_are_compared_are_trained_as_long(monkeypatch, few):
    dense = robustness.train_dense(sn.models.lenet_300_100, few, 1, 3)
    for sparsity in (0.0, 0.9):
        for function in (
            lambda sparsity=sparsity: robustness.retrained(dense, few, sparsity, 3),
            lambda sparsity=sparsity: robustness.retrained(dense, few, sparsity, 3, augment=robustness.AUGMENT),
            lambda sparsity=sparsity: distillation.taught(dense, few, sparsity, 3),
        ):
            with monkeypatch.context() as patch:
                calls, network = trained_as_told(patch, few, function)
            assert calls == [(1, [3, 0]), (2, [3, 1])]
            assert network.sparsity() == pytest.approx(sparsity, abs=1e-5)
    assert dense.sparsity() == 0


def row(accuracy, **others):
    corrupted = dict.fromkeys(sn.corruptions.CORRUPTIONS, (0.5,) * 5) | dict.fromkeys(robustness.SEEN, (0.25,) * 5)
    figures = {"accuracy": accuracy, "corrupted": corrupted, "mean": 0.4, "worst": 0.125}
    return figures | {"calibration": 0.01, "agreement": 0.95, "loss": 0.5, "sparsity": 0.9} | others


def test_the_table_of_robustness():
    stored = {"seeds": [{"dense, plain": row(0.99)}, {"dense, plain": row(0.97, worst=0.5)}]}
    assert robustness.format_table(stored).splitlines()[2:] == [
        "| dense, plain | 98.0 ± 1.4 | 40.0 ± 0.0 | 31.2 ± 26.5 | 25.0 ± 0.0 | 50.0 ± 0.0 | 1.0 ± 0.0 | 95.0 ± 0.0 |"
    ]


def test_the_table_of_distillation_compares_seed_by_seed():
    names = ("the dense network", "98 %, labels", "98 %, distilled")
    values = ((0.99, 0.90, 0.92), (0.98, 0.80, 0.83))
    stored = {"seeds": [dict(zip(names, map(row, each), strict=True)) for each in values]}
    lines = [line.split(" | ")[:3] for line in distillation.format_table(stored).splitlines()[2:]]
    assert lines == [
        ["| the dense network", "98.50 ± 0.71", ""],
        ["| 98 %, labels", "85.00 ± 7.07", ""],
        ["| 98 %, distilled", "87.50 ± 6.36", "+2.50 ± 0.71"],
    ]


def test_judgements_are_those_of_the_network_as_it_stands(few):
    network = sn.models.lenet_300_100(few.x.shape[1:], 10, seed=0)
    logits = sn.predict(network, few.x)
    for found in (
        robustness.judged(network, few, robustness.part_of(few, 20), -logits),
        distillation.judged(network, few, -logits),
    ):
        assert found["accuracy"] == sn.losses.accuracy(logits, few.y)
        assert found["calibration"] == pytest.approx(sn.losses.expected_calibration_error(logits, few.y), abs=1e-5)
        assert found["agreement"] == 0
