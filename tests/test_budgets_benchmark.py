"""The benchmark of budgets: rivals within the cost they are given, its data, its tables by hand."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.lab.cuts import find_cuts

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import budgets


def small():
    return sn.chain({"a": sn.Linear(20, 10, seed=0), "relu": sn.ReLU(), "b": sn.Linear(10, 4, seed=1)})


@pytest.mark.parametrize("scope", budgets.SCOPES.values())
def test_a_rival_costs_as_much_as_it_may_and_no_more(scope):
    seen = []
    figure = partial(budgets.figure, kind="macs", shape=(20,), beside=None)
    found = budgets.rival(small(), scope, 60, figure, lambda net: seen.append(net.sparsity()))
    assert 57 <= figure(found) <= 60
    assert len(seen) == budgets.ROUNDS
    assert seen == sorted(seen)


def test_halved_images_are_means_of_four_pixels():
    image = np.array([[1.0, 3.0, 0.0, 0.0], [5.0, 7.0, 0.0, 2.0]]).reshape(1, 1, 2, 4)
    assert budgets.halve(image).tolist() == [[[[4.0, 0.5]]]]


def test_what_is_judged_is_all_that_was_not_learnt_from():
    train, others, shape = budgets.load("resnet20")
    assert shape == (1, 14, 14)
    assert len(train.x) + len(others.x) == 1797


def test_ratios_are_one_for_a_table_that_is_right(monkeypatch):
    """Where a time is a count of multiply-adds, whatever the machine's drift, sums of layers are exact."""
    network = small()

    def times_in_turn(networks, seconds):
        return [7.0 * sum(mask.sum() for mask in each.masks().values()) for each in networks]

    class Table:
        whole, sparsities = [type("Cost", (), {"latency_us": 240.0})], (0.0,)

        def predict(self, kind, sparsities):
            kept = [w.value.size - round(sparsities[n] * w.value.size) for n, w in network.weights().items()]
            return float(sum(kept))

    monkeypatch.setattr(budgets, "times_in_turn", times_in_turn)
    monkeypatch.setattr(sn, "compile", lambda each, shape, **conditions: each)
    monkeypatch.setattr(budgets, "measure_costs", lambda *a, **o: Table())
    monkeypatch.setattr(budgets, "MOST_DRAWN", 0.4)  # no neuron loses all its weights
    scores = sn.score(network, sn.scores.l1)
    cuts = find_cuts(network, scores, sn.Weight())
    assert budgets.ratios(network, scores, cuts, (20,), 1, 3) == pytest.approx([1, 1, 1], abs=0.02)


def row(method, seed, accuracy, loss):
    about = {
        "model": "lenet_5",
        "kind": "size_bytes",
        "share": 0.02,
        "dense": 0.98,
        "spent": 800 if method == "found" else 808,
    }
    return about | {"method": method, "seed": seed, "accuracy": accuracy, "loss": loss}


def test_the_table_by_hand():
    rows = [row("found", 0, 0.95, 0.1), row("uniform", 0, 0.5, 2.0), row("global", 0, 0.94, 0.2)]
    rows += [row("erk", 0, 0.93, 0.15), row("found", 1, 0.97, 0.1), row("uniform", 1, 0.5, 2.0)]
    rows += [row("global", 1, 0.94, 0.2), row("erk", 1, 0.93, 0.25)]
    text = budgets.table({"lenet_5": {"rows": rows, "predictions": {"1": [0.9, 1.0, 1.1]}}})
    first, second = text.split("\n\n")
    assert first.splitlines()[2] == (
        "| lenet_5 | 2 % of bytes | 2 | 98.00 | 96.00 ± 1.41, loss 0.1000, cost 1.00 "
        "| 50.00 ± 0.00, loss 2.0000, cost 1.01 "
        "| 94.00 ± 0.00, loss 0.2000, cost 1.01 | 93.00 ± 0.00, loss 0.2000, cost 1.01 "
        "| +2.00 ± 1.41 (global); 0.50 ± 0.00 (global) |"
    )
    assert second.splitlines()[2] == "| lenet_5 | 1 | 3 | 1.000 | 0.920 to 1.080 |"
    assert budgets.accuracy_table(rows[:4]).splitlines()[2].endswith("| +1.00 (global); 0.67 (erk) |")
