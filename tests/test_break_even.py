"""Break-even sparsity by hand; names of shapes; exact masks; the table, the JSON and the plot of known times."""

import json
import sys

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.lab import bench
from sparsenet.lab.break_even import (
    DEFAULT_SHAPES,
    LAYER,
    BreakEvenReport,
    LayerLatency,
    LayerShape,
    break_even,
    build_network,
    describe_break_even,
    prune_at_random,
    theoretical_speedup,
)
from sparsenet.lab.latency import Latency
from sparsenet.lab.output import Narrator
from sparsenet.lab.pages import plots
from sparsenet.lab.pages.plots import plot_break_even
from sparsenet.lab.report import describe_layer

CONV, LINEAR = LayerShape(2, 4, kernel=3, size=6), LayerShape(6, 4)


def layer(shape, dense, sparse):
    """A layer with these median times, in microseconds."""
    times = {sparsity: Latency(time, time - 1, time + 1, 9) for sparsity, time in sparse.items()}
    return LayerLatency(shape, "blas", Latency(dense, dense - 1, dense + 1, 9), times)


@pytest.fixture
def report():
    layers = [layer(CONV, 100, {0.0: 160, 0.5: 120, 0.75: 40}), layer(LINEAR, 2000, {0.0: 1600, 0.5: 1000, 0.75: 500})]
    return BreakEvenReport(
        {each.shape.name: each for each in layers}, (0.0, 0.5, 0.75), 2, 1, {"numpy": np.__version__}
    )


@pytest.mark.parametrize(
    ("sparse", "dense", "expected"),
    [
        ([16, 12, 8, 4], 10, 0.5),  # half-way from +2 at 0.4 to -2 at 0.6
        ([16, 11, 7, 4], 10, 0.45),  # a quarter of the way, from +1 to -3
        ([16, 14, 12, 9], 10, 0.6 + 0.3 * 2 / 3),  # in the last, wider interval
        ([11, 7, 4, 2], 10, 0.1),  # in the first one, from 0 to 0.4
        ([16, 14, 12, 11], 10, None),  # never
        ([9, 8, 7, 6], 10, 0.0),  # always
        ([9, 12, 8, 4], 10, 0.5),  # faster, slower, faster: the last crossing
        ([12, 8, 14, 6], 10, 0.75),  # likewise, from +4 at 0.6 to -4 at 0.9
        ([12, 8, 6, 11], 10, None),  # slower again at the end
        ([16, 10, 8, 4], 10, 0.4),  # equal at 0.4, faster from there on
        ([10, 8, 6, 4], 10, 0.0),  # equal at 0
        ([16, 14, 12, 10], 10, None),  # equal at the end, and never faster
        ([10, 10, 10, 10], 10, None),  # equal throughout
        ([8, 10, 6, 4], 10, 0.4),  # touches in between
    ],
)
def test_break_even_by_hand(sparse, dense, expected):
    found = break_even((0.0, 0.4, 0.6, 0.9), sparse, dense)
    assert found == (None if expected is None else pytest.approx(expected))


def test_break_even_of_one_sparsity_and_of_unequal_rows():
    assert break_even([0.5], [9], 10) == 0.0
    assert break_even([0.5], [11], 10) is None
    with pytest.raises(ValueError, match="zip"):
        break_even([0.0, 0.5], [9], 10)


def test_shapes_have_readable_names():
    names = [
        *("16->32 3x3 @14", "64->64 3x3 @28", "128->128 3x3 @14", "64->128 3x3/2 @28", "128->128 1x1 @28"),
        *("1568->128", "1024->1024"),
    ]
    assert [shape.name for shape in DEFAULT_SHAPES] == names
    assert [shape.kind for shape in DEFAULT_SHAPES] == ["conv"] * 5 + ["linear"] * 2
    assert (CONV.input_shape, LINEAR.input_shape) == ((2, 6, 6), (6,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 0, "outputs": 4}, "inputs must be at least 1"),
        ({"inputs": 4, "outputs": 0}, "outputs must be at least 1"),
        ({"inputs": 4, "outputs": 4, "kernel": 3}, "both kernel and size"),
        ({"inputs": 4, "outputs": 4, "size": 3}, "both kernel and size"),
        ({"inputs": 4, "outputs": 4, "kernel": 0, "size": 3}, "kernel must be at least 1"),
        ({"inputs": 4, "outputs": 4, "kernel": 3, "size": 3, "stride": 0}, "stride must be at least 1"),
    ],
)
def test_bad_shapes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LayerShape(**arguments)


def test_a_stride_is_for_convolutions():
    with pytest.raises(ValueError, match="stride"):
        LayerShape(4, 4, stride=2)


def test_networks_are_one_layer_with_bias_and_relu():
    for shape, output in ((CONV, (4, 6, 6)), (LayerShape(2, 4, kernel=3, stride=2, size=6), (4, 3, 3)), (LINEAR, (4,))):
        network = build_network(shape)
        assert list(network.layers()) == [LAYER, "relu"]
        assert network.shapes(shape.input_shape)["relu"] == output
        assert network[LAYER].bias.value.all()
        assert network.sparsity() == 0


@pytest.mark.parametrize("shape", [CONV, LINEAR], ids=lambda shape: shape.name)
def test_masks_have_exact_counts_and_are_nested(shape):
    network, before = build_network(shape), None
    for sparsity in (0.0, 0.1, 0.5, 0.9):
        mask = prune_at_random(network, sparsity).masks()[LAYER]
        assert mask.size - mask.sum() == round(sparsity * mask.size)
        assert before is None or not (mask & ~before).any()
        before = mask
    assert network.sparsity() == 0


def test_known_times_give_known_figures(report):
    conv, linear = report.layers.values()
    assert conv.break_even == pytest.approx(0.5 + 0.25 * 20 / 80)
    assert linear.break_even == 0.0
    assert [conv.speedup(s) for s in report.sparsities] == [100 / 160, 100 / 120, 2.5]
    assert [theoretical_speedup(s) for s in report.sparsities] == [1, 2, 4]


def test_the_table_of_known_times(report):
    assert str(report) == (
        "speed-up of the sparse form over the dense one, by sparsity; batch of 2, 1 thread\n"
        "layer        dense, us    0 %   50 %   75 %  break-even\n"
        "2->4 3x3 @6        100  0.62x  0.83x  2.50x        56 %\n"
        "6->4             2,000  1.25x  2.00x  4.00x      always\n"
        "theory                  1.00x  2.00x  4.00x"
    )


def test_the_lines_of_known_times(report):
    conv, linear = report.layers.values()
    assert describe_layer(conv) == (
        "2->4 3x3 @6: 100 us dense (blas), the sparse form is faster from 56 %, and 2.50x at 75 %"
    )
    assert "faster everywhere, and 4.00x at 75 %" in describe_layer(linear)
    assert "faster nowhere, and 0.50x at 50 %" in describe_layer(layer(LINEAR, 10, {0.5: 20}))
    assert [describe_break_even(s) for s in (None, 0.0, 0.114)] == ["never", "always", "11 %"]


def test_the_json_of_known_times(report):
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (content["batch"], content["threads"], content["sparsities"]) == (2, 1, [0, 0.5, 0.75])
    assert content["environment"] == {"numpy": np.__version__}
    conv, linear = content["layers"]["2->4 3x3 @6"], content["layers"]["6->4"]
    shape = [conv[key] for key in ("kind", "inputs", "outputs", "kernel", "stride", "size")]
    assert shape == ["conv", 2, 4, 3, 1, 6]
    assert conv["dense_form"] == "blas"
    assert conv["dense_latency"] == {"median_us": 100, "low_us": 99, "high_us": 101, "calls": 9}
    assert conv["points"][2] == {
        "sparsity": 0.75,
        "latency": {"median_us": 40, "low_us": 39, "high_us": 41, "calls": 9},
        "theoretical_speedup": 4,
        "measured_speedup": 2.5,
    }
    assert conv["break_even"] == pytest.approx(0.5625)
    assert (linear["kind"], linear["kernel"], linear["break_even"]) == ("linear", None, 0)
    never = BreakEvenReport({"6->4": layer(LINEAR, 10, {0.5: 20})}, (0.5,), 1, 1, {})
    assert never.to_json()["layers"]["6->4"]["break_even"] is None


@pytest.mark.parametrize("batch", [1, 3])
def test_every_form_of_every_layer_is_measured(batch):
    told = []
    report = sn.calibrate((CONV, LINEAR), batch=batch, sparsities=(0, 0.5, 0.9), seconds=0.01, on_layer=told.append)
    assert list(report.layers) == ["2->4 3x3 @6", "6->4"]
    assert told == list(report.layers.values())
    assert (report.batch, report.threads, report.sparsities) == (batch, 1, (0.0, 0.5, 0.9))
    assert report.environment["numpy"] == np.__version__
    for each in told:
        assert list(each.sparse) == [0.0, 0.5, 0.9]
        assert each.dense_form in ("dense", "blas")
        for latency in (each.dense, *each.sparse.values()):
            assert 0 < latency.low_us <= latency.median_us <= latency.high_us
            assert latency.calls >= 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shapes": ()}, "shapes must hold"),
        ({"shapes": ("6->4",)}, "shapes must hold"),
        ({"shapes": (LINEAR, LINEAR)}, "shapes must differ"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"seconds": 0}, "seconds must be"),
        ({"sparsities": ()}, "sparsities must ascend"),
        ({"sparsities": (0.5, 0.5)}, "sparsities must ascend"),
        ({"sparsities": (0.5, 1.0)}, r"sparsities must be in \[0, 1\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sn.calibrate(**arguments)


def test_the_plot_shows_every_layer_beside_theory(report, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    figures, save = [], plots.save_png
    monkeypatch.setattr(plots, "save_png", lambda path, figure: (figures.append(figure), save(path, figure)))
    plot_break_even(tmp_path / "plot.png", report)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figures[0].axes
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert {"2->4 3x3 @6", "6->4", "1 / (1 - s)"} <= set(lines)
    np.testing.assert_allclose(lines["6->4"].get_xdata(), [0, 50, 75])
    np.testing.assert_allclose(lines["6->4"].get_ydata(), [1.25, 2, 4])
    percents, theory = lines["1 / (1 - s)"].get_data()
    np.testing.assert_allclose(theory, 1 / (1 - np.array(percents) / 100))
    assert any(list(line.get_ydata()) == [1, 1] for line in axes.get_lines())


def test_a_report_that_fails_costs_nothing_else(report, tmp_path, monkeypatch):
    def failing(*arguments):
        raise RuntimeError("alas")

    monkeypatch.setattr(bench, "calibrate", lambda **settings: report)
    monkeypatch.setattr(bench, "bench_page", failing)
    with pytest.raises(RuntimeError, match="alas"):
        bench.run_bench(tmp_path / "new", quick=True, narrator=Narrator(line=lambda text: None))
    assert "calibration.json" in {path.name for path in (tmp_path / "new").iterdir()}


def test_without_matplotlib_there_is_a_line_instead_of_a_plot(report, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "calibrate", lambda **settings: report)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    lines = []
    bench.run_bench(tmp_path / "new", quick=True, narrator=Narrator(line=lines.append))
    assert lines[-1] == "no plot: a plot needs matplotlib: pip install 'sparsenet[app]'"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"calibration.json", "calibration.html"}
