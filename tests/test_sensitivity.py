"""One layer pruned at a time: counts by hand, bytes of real files, losses of the networks that are meant."""

import json

import numpy as np
import pytest
from pages import assert_well_formed

import sparsenet as sn
from sparsenet import cli
from sparsenet.lab.cost_table import CostTable, UnitCost, check_sparsities
from sparsenet.lab.cuts import find_cuts, norm_errors
from sparsenet.lab.sensitivity import Sensitivity

QUICK = {"sparsities": (0.5, 0.75), "batch": 2, "threads": 1, "seconds": 0.01}


@pytest.fixture(scope="module")
def by_weight(trained, digits):
    return sn.sensitivity(trained, digits.validation, **QUICK)


@pytest.fixture(scope="module")
def by_filter(trained, digits):
    return sn.sensitivity(trained, digits.validation, granularity=sn.Filter(), **QUICK)


def unit(latency_us, size_bytes, macs):
    return UnitCost(latency_us, latency_us, latency_us, size_bytes, macs)


@pytest.fixture
def table():
    """Layers by themselves take 30, 20 and 10 microseconds together, the whole 35, 31 and 25."""
    units = {
        "a": (unit(10, 100, 8), unit(8, 60, 6), unit(4, 40, 4)),
        "b": (unit(20, 200, 16), unit(12, 120, 12), unit(6, 60, 8)),
    }
    whole = unit(35, 350, 30), unit(31, 230, 24), unit(25, 150, 18)
    return CostTable((0.0, 0.25, 0.5), units, {"a": {"a": 1.0}, "b": {"b": 1.0}}, whole, (4,), 1, 1, {})


def test_costs_by_hand(table):
    assert table.costs("latency_us").tolist() == [[10.0, 8.0, 4.0], [20.0, 12.0, 6.0]]
    assert table.costs("size_bytes", [0.125]).tolist() == [[80.0], [160.0]]
    assert [table.predict("latency_us", {"a": s, "b": s}) for s in (0, 0.25, 0.5)] == [35, 31, 25]
    assert table.predict("latency_us", {"b": 0.25}) == pytest.approx(31.8)  # 22 lies between 20 and 30
    assert table.predict("macs", {"a": 0.5}) == 30 - 4
    assert [table.within("latency_us", budget) for budget in (24, 25, 28, 31, 33, 40)] == [9, 10, 15, 20, 25, 35]
    assert table.within("macs", 20) == 20 - 6


def test_a_whole_that_gets_slower_is_taken_to_stay(table):
    whole = unit(31, 1, 1), unit(29, 1, 1), unit(30, 1, 1)
    noisy = CostTable(table.sparsities, table.units, table.layers, whole, (4,), 1, 1, {})
    assert [noisy.predict("latency_us", {"a": s, "b": s}) for s in (0, 0.25, 0.5)] == [31, 30, 30]


def test_what_was_not_measured_is_refused(table):
    with pytest.raises(ValueError, match=r"levels must be in \[0, 0.5\], not 0.6"):
        table.costs("macs", [0.6])
    with pytest.raises(ValueError, match="kind must be one of latency_us, size_bytes, macs, not 'joules'"):
        table.costs("joules")
    with pytest.raises(ValueError, match="sparsities names 'c'; the layers are 'a', 'b'"):
        table.predict("macs", {"c": 0.5})


def test_errors_never_fall_and_start_at_none(table):
    report = Sensitivity(
        {"a": (0.9,) * 3, "b": (0.9,) * 3}, {"a": (1.0, 0.5, 0.9), "b": (1.0, 3.0, 2.0)}, table, "", ""
    )
    assert report.errors([0.0, 0.125, 0.5]).tolist() == [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]


@pytest.mark.parametrize("given", [(), (0.0,), (0.5, 0.5), (0.9, 0.5), (0.5, 1.0)])
def test_sparsities_that_do_not_ascend_are_refused(given):
    with pytest.raises(ValueError, match="sparsities must"):
        check_sparsities(given)


def test_only_the_named_layer_is_pruned(trained, digits, by_weight):
    scores = sn.score(trained, sn.scores.l1)
    assert by_weight.sparsities == (0.0, 0.5, 0.75)
    start = sn.evaluate(trained, digits.validation)
    for name in trained.weights():
        pruned = trained.copy()
        sn.prune(pruned, scores, sn.strategies.layerwise, 0.75, exclude=set(trained.weights()) - {name})
        expected = sn.evaluate(pruned, digits.validation)
        assert (by_weight.accuracy[name][2], by_weight.loss[name][2]) == expected
        assert (by_weight.accuracy[name][0], by_weight.loss[name][0]) == start
    assert trained.sparsity() == 0


def test_macs_and_bytes_are_exact(trained, by_weight, tmp_path):
    pruned = trained.copy()
    sn.prune(pruned, sn.score(trained, sn.scores.l1), sn.strategies.layerwise, 0.75)
    sn.save_network(tmp_path / "pruned", pruned)
    everywhere = dict.fromkeys(trained.weights(), 0.75)
    assert by_weight.costs.predict("size_bytes", everywhere) == pytest.approx((tmp_path / "pruned").stat().st_size)
    assert by_weight.costs.predict("macs", everywhere) == pytest.approx(36 * 784 + 1152 * 196 + 50176 + 320)
    assert [cost.macs for cost in by_weight.costs.units["conv2"]] == [4608 * 196, 2304 * 196, 1152 * 196]


def test_structures_are_counted_without_what_is_gone(by_filter):
    costs = by_filter.costs
    assert costs.layers == {"conv1": {"conv1": 1.0}, "conv2": {"conv2": 1.0}, "fc1": {"fc1": 1.0, "fc2": 1.0}}
    size = 28
    assert [cost.macs for cost in costs.units["conv1"]] == [9 * n * size**2 for n in (16, 8, 4)]
    assert [cost.macs for cost in costs.units["conv2"]] == [9 * n * 2 * n * 196 for n in (16, 8, 4)]
    assert [cost.macs for cost in costs.units["fc1"]] == [49 * n * 4 * n + 10 * 4 * n for n in (32, 16, 8)]


def test_groups_share_the_layers_that_they_make():
    network = sn.models.resnet20((1, 8, 8))
    cuts = find_cuts(network, sn.score(network, sn.scores.l1), sn.Filter())
    shares = {}
    for parts in cuts.units.values():
        for layer, share in parts.items():
            shares[layer] = shares.get(layer, 0) + share
    assert shares == dict.fromkeys(network.weights(), 1.0)
    name = next(iter(cuts.units))
    small = cuts.smallest(cuts.cut(network, sn.score(network, sn.scores.l1), {name: 0.5}))
    assert small["stem"].weight.shape[0] == 8
    assert small["block1_1a"].weight.shape[:2] == (16, 8)


def test_tables_and_json(by_weight, by_filter):
    for report, granularity in ((by_weight, "Weight()"), (by_filter, "Filter()")):
        text = str(report)
        for word in ("conv2", "75 %", "accuracy, points", "bytes in the file", "batch of 2, 1 thread", granularity):
            assert word in text
        content = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert content["sparsities"] == [0.0, 0.5, 0.75]
        assert content["units"]["conv2"]["accuracy"] == list(report.accuracy["conv2"])
        assert content["costs"]["units"]["conv2"][1]["macs"] == report.costs.units["conv2"][1].macs
        assert min(cost.latency_us for row in report.costs.units.values() for cost in row) > 0


def test_a_loss_that_is_not_finite_is_null_in_json(table):
    report = Sensitivity({"a": (0.9, 0.9)}, {"a": (1.0, np.inf)}, table, "", "")
    assert report.to_json()["units"]["a"]["loss"] == [1.0, None]


def test_the_command(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SPARSENET_DATA", raising=False)
    sn.save_network(tmp_path / "net.sparsenet", trained)
    out = tmp_path / "out"
    assert cli.main(["sensitivity", str(tmp_path / "net.sparsenet"), "--quick", "--filters", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy, points" in printed
    assert str(out) in printed
    assert json.loads((out / "sensitivity.json").read_text())["granularity"] == "Filter()"
    assert {path.name for path in out.iterdir()} <= {"sensitivity.json", "sensitivity.png", "sensitivity.html"}
    page = (out / "sensitivity.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert f"sparsenet sensitivity {tmp_path / 'net.sparsenet'} --dataset digits --criterion l1 --filters " in page


def test_a_network_that_is_none_gets_one_line_and_status_2(tmp_path, capsys):
    assert cli.main(["sensitivity", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_errors_by_norm_of_weights_by_hand():
    network = sn.chain({"a": sn.Linear(2, 2), "relu": sn.ReLU(), "b": sn.Linear(2, 2)})
    network["a"].set_weight(np.array([[1.0, 2.0], [3.0, -4.0]], np.float32))  # squares 1, 4, 9, 16 of 30
    network["b"].set_weight(np.array([[0.0, 0.0], [1.0, -1.0]], np.float32))
    scores = sn.score(network, sn.scores.l1)
    errors = norm_errors(network, scores, find_cuts(network, scores, sn.Weight()), (0.0, 0.25, 0.5, 0.75))
    np.testing.assert_allclose(errors[0], -np.log([1, 29 / 30, 25 / 30, 16 / 30]))
    np.testing.assert_allclose(errors[1], -np.log([1, 1, 1, 1 / 2]))


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_errors_by_norm_are_what_lamp_says_of_the_weights_that_go(trained, sparsity):
    scores = sn.score(trained, sn.scores.l1)
    cuts, lamp = find_cuts(trained, scores, sn.Weight()), sn.score(trained, sn.scores.lamp)
    masks = {name: cuts.cut(trained, scores, {name: sparsity}).masks()[name] for name in cuts.units}
    told = [-np.log1p(-lamp[name][~mask]).sum() for name, mask in masks.items()]
    np.testing.assert_allclose(norm_errors(trained, scores, cuts, [sparsity])[:, 0], told, rtol=1e-4)


def test_errors_by_norm_of_structures_are_those_of_what_makes_and_what_reads_them():
    network = sn.chain({"a": sn.Linear(1, 2), "relu": sn.ReLU(), "b": sn.Linear(2, 2)})
    network["a"].set_weight(np.array([[1.0], [3.0]], np.float32))  # the first neuron goes: 9 of 10 stay
    network["b"].set_weight(np.array([[2.0, 1.0], [2.0, -1.0]], np.float32))  # with its column: 2 of 10
    scores = sn.score(network, sn.scores.l1)
    cuts = find_cuts(network, scores, sn.Filter())
    np.testing.assert_allclose(
        norm_errors(network, scores, cuts, (0.0, 0.5)), [[0, -np.log(0.9) - np.log(0.2)]], rtol=1e-6
    )


def test_a_layer_without_any_norm_has_none_to_lose():
    network = sn.chain({"a": sn.Linear(4, 1)})
    network["a"].set_weight(np.zeros((1, 4), np.float32))
    scores = {"a": np.arange(4.0)[None]}
    assert norm_errors(network, scores, find_cuts(network, scores, sn.Weight()), (0.0, 0.75)).tolist() == [[0, 0]]


def test_another_metric_is_called_by_its_name(trained, digits):
    def recall_of_zero(logits, labels):
        return float((logits.argmax(axis=1) == labels)[labels == 0].mean())

    report = sn.sensitivity(trained, digits.validation, metric=recall_of_zero, **QUICK)
    text = str(report)
    assert "recall_of_zero" in text
    assert "accuracy" not in text
    assert report.to_json()["metric"] == "recall_of_zero"
