"""The benchmark of criteria: its truth against deleting by masks, its correlations and its table by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import IMAGE, random_cnn

import sparsenet as sn

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import criteria


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    network = random_cnn(5, batch_norm=True).astype(np.float64)
    return network, sn.Split(rng.standard_normal((6, *IMAGE)), rng.integers(0, 3, 6))


def test_the_truth_of_weights_is_the_loss_with_the_weight_masked(case):
    network, data = case
    before, state = sn.evaluate(network, data).loss, network["conv2"].weight.value.copy()
    truth = criteria.changes_by_weight(network, data, 3, seed=1)
    assert np.array_equal(network["conv2"].weight.value, state)
    assert list(truth) == ["conv1", "conv2", "fc1", "fc2"]
    for name, (picks, changes) in truth.items():
        for pick, change in zip(picks, changes, strict=True):
            pruned = network.copy()
            mask = np.ones(pruned.weights()[name].shape, bool)
            mask.reshape(-1)[pick] = False
            pruned.apply_masks({name: mask})
            assert change == pytest.approx(sn.evaluate(pruned, data).loss - before, abs=1e-12)


def test_the_truth_of_filters_is_the_loss_with_the_filter_masked(case):
    network, data = case
    before = sn.evaluate(network, data).loss
    truth = criteria.changes_by_filter(network, data)
    assert list(truth) == ["conv1", "conv2", "fc1"]
    for name, (picks, changes) in truth.items():
        assert picks.tolist() == list(range(len(network[name].bias.value)))
        for pick, change in zip(picks, changes, strict=True):
            pruned = network.copy()
            mask = np.ones(pruned.weights()[name].shape, bool)
            mask[pick] = False
            pruned.apply_masks({name: mask})
            assert change == pytest.approx(sn.evaluate(pruned, data).loss - before, abs=1e-12)
        assert np.abs(changes).max() > 1e-4


def test_correlations_by_hand():
    truth = {
        "a": (np.array([0, 2]), np.array([-3.0, 1.0])),
        "b": (np.array([0, 1, 2]), np.array([0.5, 2.0, 4.0])),
        "c": (np.array([0, 1]), np.array([1.0, 2.0])),
    }
    scores = {"a": np.array([9.0, 0.0, 5.0]), "b": np.array([1.0, 2.0, 3.0])}
    found = criteria.correlations(scores, truth)
    assert found["magnitude"]["layers"] == pytest.approx({"a": 1, "b": 1})
    assert found["signed"]["layers"] == pytest.approx({"a": -1, "b": 1})
    assert (found["magnitude"]["mean"], found["signed"]["mean"]) == pytest.approx((1, 0))
    # scores 9 5 1 2 3 (ranks 5 4 1 2 3) with 3 1 0.5 2 4 (4 2 1 3 5): 1 - 6 (1 + 4 + 0 + 1 + 4) / (5 x 24)
    assert found["magnitude"]["all"] == pytest.approx(0.5)
    constant = criteria.correlations({"a": np.ones(3)}, truth)["magnitude"]
    assert constant == {"layers": {"a": None}, "mean": None, "all": None}
    assert criteria.correlations({}, truth)["signed"] == {"layers": {}, "mean": None, "all": None}


def test_the_table_by_hand():
    rank = {"magnitude": {"mean": 0.5, "all": None}}
    reached = {name: {"at_once": 0.25, "retrained": 0.875} for name in criteria.SETTINGS}
    result = {
        "dataset": "digits",
        "trained_on": 1000,
        "accuracy_test": 0.9,
        "retrain_epochs": 2,
        "deleted": {"weights": {"a": 400, "b": 800}, "filters": {"a": 7}},
        "rows": {
            "one": {"weights": rank, "filters": rank, "accuracy": reached},
            "other": {"weights": rank, "filters": rank, "accuracy": None},
        },
    }
    lines = list(criteria.table(result))
    assert "dense 90.0 %" in lines[0]
    assert "each of 1,200 weights, 7 filters" in lines[0]
    assert "| `one` | +0.50 | - | +0.50 | - |" in lines
    assert "| `one` | 25.0 % → 87.5 % | 25.0 % → 87.5 % | 25.0 % → 87.5 % |" in lines
    assert "| `other` | - | - | - |" in lines
