"""Costs counted by hand, latency measured side by side, tables, plots, what a run tells and writes."""

import json
import sys
import time

import pytest
from helpers import IMAGE, random_cnn

import sparsenet as sn
from sparsenet.lab.costs import unpruned
from sparsenet.lab.environment import describe_environment, processor_name
from sparsenet.lab.latency import Latency, measure
from sparsenet.lab.output import Narrator, draw, write_json
from sparsenet.lab.pages.plots import plot_accuracy
from sparsenet.lab.report import describe_gain
from sparsenet.lab.tables import count_threads, format_table
from sparsenet.lab.task import REGRESSION
from sparsenet.nn.training import Epoch
from sparsenet.pruning.cycle import Round


@pytest.fixture(scope="module")
def report():
    network = sn.models.simple_cnn(batch_norm=True)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.75)
    return sn.cost_report(network, (1, 28, 28), batch=2, threads=1, seconds=0.05), network


def test_counts_by_hand(report):
    costs, _ = report
    layers, total = costs.layers, costs.total
    inside = {name for names in costs.together.values() for name in names}
    assert inside <= {"pool1", "pool2"}
    assert set(layers) == {"conv1", "pool1", "conv2", "pool2", "fc1", "fc2"} - inside
    assert layers["conv1"].parameters == 9 * 16 + 16
    assert layers["conv1"].nonzeros == 36 + 15  # one filter kept no weight, and so no bias
    assert layers["conv1"].macs == 9 * 16 * 28 * 28
    assert layers["conv1"].macs_kept == 36 * 28 * 28
    assert layers["fc1"].macs == 1568 * 128 == 4 * layers["fc1"].macs_kept
    assert all(layers[name].macs == layers[name].parameters == 0 for name in {"pool1", "pool2"} - inside)
    assert total.parameters == 206_922 + 2 * (16 + 32)  # batch normalisation counts, folded or not
    assert total.macs == sum(c.macs for c in layers.values())
    assert layers["conv2"].theoretical_speedup == 4.0


def test_bytes_are_those_of_the_files(report, tmp_path):
    costs, network = report
    for name, net, expected in (
        ("pruned", network, costs.total.bytes_sparse),
        ("dense", unpruned(network), costs.total.bytes_dense),
    ):
        sn.save_network(tmp_path / name, net)
        assert (tmp_path / name).stat().st_size == expected
    assert costs.total.bytes_sparse < 0.35 * costs.total.bytes_dense


def test_every_form_is_measured(report):
    costs, _ = report
    for each in [*costs.layers.values(), costs.total]:
        assert list(each.latency) == ["dense", "masked", "compacted", "sparse"]
        for latency in each.latency.values():
            assert 0 < latency.low_us <= latency.median_us <= latency.high_us
            assert latency.calls >= 5
    assert costs.total.speedup("masked") == (
        costs.total.latency["dense"].median_us / costs.total.latency["masked"].median_us
    )


def test_table_and_json(report):
    costs, _ = report
    text = str(costs)
    for word in ("conv1", "total", "theory", "measured", "batch of 2, 1 thread", "4.0x", "the sparse form runs: conv1"):
        assert word in text
    content = json.loads(json.dumps(costs.to_json(), allow_nan=False))
    assert content["layers"]["conv1"]["theoretical_speedup"] == 4.0
    alone = {"pool1", "pool2"} - {name for names in content["together"].values() for name in names}
    assert all(content["layers"][name]["theoretical_speedup"] is None for name in alone)
    assert set(content["total"]["measured_speedup"]) == {"masked", "compacted", "sparse"}
    assert (content["batch"], content["threads"]) == (2, 1)


def test_the_unpruned_twin_has_every_weight():
    for weight_norm in (False, True):
        network = random_cnn(3, batch_norm=True, weight_norm=weight_norm)
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
        dense = unpruned(network)
        assert dense.sparsity() == 0
        assert all(weight.value.all() for weight in dense.weights().values())
        assert network.sparsity() > 0


def test_a_compacted_network_of_other_widths_is_reported(rng):
    network = random_cnn(3, batch_norm=True)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    costs = sn.cost_report(network, IMAGE, batch=1, threads=1, seconds=0.01)
    assert costs.total.macs_kept < costs.total.macs
    assert costs.total.nonzeros < costs.total.parameters


def test_latency_is_measured_in_turn():
    order = []
    result = measure({"a": lambda: order.append("a"), "b": lambda: (order.append("b"), time.sleep(0.002))}, 0.02)
    assert order == ["a", "a", "b", "b"] * (len(order) // 4)  # one call before each that is timed
    assert result["b"].median_us > 1900 > result["a"].median_us
    assert result["a"].calls == len(order) // 4 - 1  # the first call warms up
    assert Latency.of([1e-6, 2e-6, 3e-6]) == Latency(pytest.approx(2), pytest.approx(1.5), pytest.approx(2.5), 3)


def test_the_sentence_says_wins_and_losses(report):
    costs, _ = report
    sentence = describe_gain(costs, 0.75, 0.99, 0.985)
    assert "75.0 % of the weights gone" in sentence
    assert "from 99.00 % to 98.50 %" in sentence
    best = max(("sparse", "compacted"), key=costs.total.speedup)
    assert f"in its {best} form" in sentence
    assert ("times as fast as" in sentence) == (costs.total.speedup(best) >= 1)


def test_a_regression_is_told_by_its_own_metric(report, tmp_path):
    sentence = describe_gain(report[0], 0.75, 0.99, 0.985, REGRESSION)
    assert sentence.endswith("its test R^2 went from 0.9900 to 0.9850.")
    assert "accuracy" not in sentence
    lines = []
    Narrator(line=lines.append).round(3, REGRESSION)(
        Round(1, 0.5, 0.5, {}, 0.25, -0.5, 0.1, 1, 1, False, 2.0),
    )
    assert lines == [
        "round 1/3: 50.0 % of the weights gone, validation R^2 0.2500 masked, -0.5000 retrained, 2.0 s - too low"
    ]
    pytest.importorskip("matplotlib")
    plot_accuracy(tmp_path / "plot.png", [0, 0.5], [0.98, -0.2], 0.98, REGRESSION)
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_format_table():
    assert format_table([("a", "bb"), ("ccc", "1")]) == "a    bb\nccc   1"
    assert [count_threads(threads) for threads in (1, 2)] == ["1 thread", "2 threads"]


def test_the_environment_names_the_processor(tmp_path, monkeypatch):
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text(
        "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: Another\n"
    )
    arm.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert processor_name(x86) == "Some CPU: 2 GHz"
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert [processor_name(path) for path in (arm, tmp_path / "missing")] == ["aarch64", "aarch64"]
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert [processor_name(path) for path in (arm, tmp_path / "missing")] == ["arm", "arm"]


def test_the_environment_is_text():
    environment = describe_environment()
    assert list(environment) == [
        *("sparsenet", "python", "numpy", "scipy", "numba", "platform", "machine", "processor")
    ]
    assert all(value and isinstance(value, str) for value in environment.values())
    assert environment["sparsenet"] == sn.__version__


def test_a_narrator_tells_epochs_in_passing():
    kept, passing = [], []
    narrator = Narrator(line=kept.append, progress=lambda *told: passing.append(told))
    tell, epoch = narrator.epoch("training", 12), Epoch(3, 0.25, 0.5, None, None, 0.05, 1.5)
    tell(epoch)
    assert (kept, passing) == ([], [("training ...", 0, 12), ("training: epoch 3/12, loss 0.2500, 1.5 s", 1, 12)])


def test_epochs_of_several_rounds_are_one_stage():
    passing = []
    tell = Narrator(progress=lambda text, done, total: passing.append((done, total))).epoch("retraining", 2, rounds=2)
    for number in (1, 2) * 3:
        tell(Epoch(number, 0.25, 0.5, None, None, 0.05, 1.5))
    assert passing == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4), (1, 4), (2, 4)]  # the third round begins again


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 0.5, None]})
    assert path.read_text() == '{\n "a": [\n  1,\n  0.5,\n  null\n ]\n}\n'
    for wrong, error in (({"a": float("nan")}, ValueError), ({"a": object()}, TypeError)):
        with pytest.raises(error):
            write_json(path, wrong)
        assert json.loads(path.read_text()) == {"a": [1, 0.5, None]}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_plot_that_cannot_be_drawn_is_a_line():
    def failing(error):
        def plot():
            raise error

        return plot

    lines = []
    for error in (ImportError("no matplotlib"), RuntimeError("no fonts"), AttributeError("gone")):
        draw(failing(error), Narrator(line=lines.append))
    assert lines == ["no plot: no matplotlib", "no plot: RuntimeError: no fonts", "no plot: AttributeError: gone"]
    with pytest.raises(OSError, match="disk full"):  # the file: that is not for matplotlib to answer for
        draw(failing(OSError("disk full")), Narrator(line=lines.append))


def test_progress_of_a_cost_report_ascends_to_the_end():
    told = []
    network = sn.models.lenet_300_100()
    sn.cost_report(network, (1, 28, 28), seconds=0.01, on_progress=lambda text, done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert set(totals) == {5 * len(network.nodes)}
    assert list(done) == sorted(set(done))
    assert (done[0], done[-1]) == (0, 4 * len(network.nodes))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="batch"):
        sn.cost_report(sn.models.lenet_300_100(), (1, 28, 28), batch=0)
    with pytest.raises(ValueError, match="seconds"):
        sn.cost_report(sn.models.lenet_300_100(), (1, 28, 28), seconds=0)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    plot_accuracy(tmp_path / "plot.png", [0, 0.5, 0.9], [0.98, 0.97, 0.9], 0.98)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r"pip install 'sparsenet\[app\]'"):
        plot_accuracy(tmp_path / "plot.png", [0], [1], 1)
    assert list(tmp_path.iterdir()) == []


def test_networks_to_compare_must_have_the_same_layers():
    with pytest.raises(ValueError, match="dense must have the layers"):
        sn.cost_report(sn.models.lenet_300_100(), (1, 28, 28), dense=sn.models.lenet_5())
