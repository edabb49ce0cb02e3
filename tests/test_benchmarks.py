"""The benchmark of `benchmarks/run.py`: a quick run as a whole, its tables by hand, its workloads and references."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.kernels import naive_conv

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import cifar  # noqa: E402
import mnist  # noqa: E402
import tables  # noqa: E402
import worker  # noqa: E402
import workloads  # noqa: E402
from onnx_export import onnx_operators  # noqa: E402
from peers import ENGINES, Program, reads_alone  # noqa: E402


def timed(engine, role, sparsity, microseconds):
    return {"engine": engine, "role": role, "sparsity": sparsity, "median_us": microseconds}


def make_case(name, group, results):
    case = {"name": name, "group": group, "batch": 1, "sparsities": [0.5, 0.9], "results": results}
    return case | tables.summarize(results)


RESULTS = [
    timed("sparsenet", "ours", 0.5, 200.0),
    timed("sparsenet", "ours", 0.9, 50.0),
    timed("sparsenet-dense", "our dense", 0.9, 150.0),
    timed("slow", "dense peer", 0.9, 300.0),
    timed("fast", "dense peer", 0.9, 100.0),
    {"engine": "wrong", "role": "dense peer", "sparsity": 0.9, "failed": "ValueError: outputs differ"},
    timed("scipy", "sparse peer", 0.9, 1234.0),
    timed("scipy-product", "sparse product", 0.9, 20.0),
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(JSON, output) of a quick run."""
    path = tmp_path_factory.mktemp("quick") / "result.json"
    command = [sys.executable, str(FOLDER / "run.py"), "--quick", "--out", str(path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(path.read_text()), run.stdout


def test_a_quick_run_says_what_ran_and_where(quick):
    result, output = quick
    assert {"date", "environment", "allocator", "load_average", "load_average_end", "means"} <= set(result)
    assert {"processor", "cores", "flags", "numpy", "torch", "openvino"} <= set(result["environment"])
    assert (result["threads"], result["rounds"]) == (1, 2)
    for name in ("sparsenet", "sparsenet-dense", "scipy", "scipy-product"):
        assert result["engines"][name]["skipped"] is None
        assert result["engines"][name]["idle_cpu_s"] < 0.5 * result["engines"][name]["idle_s"]
    skipped = [name for name, engine in result["engines"].items() if engine["skipped"]]
    assert all(f"{name} skipped: " in output for name in skipped)
    assert "failed" not in output


def test_the_figures_of_a_quick_run_hang_together(quick):
    cases = quick[0]["cases"]
    assert [case["name"] for case in cases] == ["8->16 3x3 @8", "64->32"]
    for case in cases:
        for each in case["results"]:
            assert each["error"] <= 1e-4
            assert len(each["bursts_us"]) == 2
            assert each["median_us"] == pytest.approx(median(each["bursts_us"]), abs=1e-3)
            assert each["min_us"] <= each["low_us"] <= each["median_us"] <= each["high_us"] <= each["max_us"]
        ours = {each["sparsity"]: each["median_us"] for each in case["results"] if each["engine"] == "sparsenet"}
        assert set(ours) == {0.0, 0.9}
        for row in case["speedups"]:
            assert row["over_best_dense"] == pytest.approx(case["baseline"]["median_us"] / ours[row["sparsity"]])


def test_the_best_dense_peer_is_the_baseline():
    summary = tables.summarize(RESULTS)
    assert summary["baseline"] == {"engine": "fast", "median_us": 100.0}
    assert [row["over_best_dense"] for row in summary["speedups"]] == [0.5, 2.0]
    assert [row["over_own_dense"] for row in summary["speedups"]] == [0.75, 3.0]


def test_without_peers_our_own_dense_form_is_the_baseline():
    summary = tables.summarize([each for each in RESULTS if each["role"] != "dense peer"])
    assert summary["baseline"] == {"engine": "sparsenet-dense", "median_us": 150.0}
    assert [row["over_best_dense"] for row in summary["speedups"]] == [0.75, 3.0]


def test_means_are_geometric_per_group_and_sparsity():
    faster = [timed("sparsenet", "ours", 0.9, 12.5), timed("fast", "dense peer", 0.9, 100.0)]
    rows = tables.means([make_case("a", "conv", RESULTS), make_case("b", "conv", faster)])
    assert [(row["group"], row["sparsity"], row["cases"]) for row in rows] == [("conv", 0.5, 1), ("conv", 0.9, 2)]
    assert rows[0]["over_best_dense"] == pytest.approx(0.5)
    assert rows[1]["over_best_dense"] == pytest.approx(4.0)  # the root of 2 * 8
    assert (rows[1]["lowest"], rows[1]["highest"]) == (2.0, 8.0)
    assert rows[1]["theory"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("speedups", "expected"),
    [((0.5, 0.9, 2.0), 0.9), ((1.0, 1.5, 2.0), 0.5), ((1.5, 0.9, 2.0), 0.9), ((1.5, 2.0, 0.9), None), ((), None)],
)
def test_faster_from_needs_every_higher_sparsity(speedups, expected):
    rows = [{"sparsity": s, "over_best_dense": each} for s, each in zip((0.5, 0.8, 0.9), speedups, strict=False)]
    assert tables.faster_from(rows) == expected


def test_tables_show_losses_and_failures():
    environment = {"processor": "an abacus"}
    engines = {"fast": {"skipped": None, "idle_s": 10.0, "idle_cpu_s": 2.5}, "absent": {"skipped": "No module"}}
    case = make_case("64->64", "conv", RESULTS)
    text = tables.report({"cases": [case], "engines": engines, "threads": 2, "environment": environment})
    assert "## 2 threads, an abacus" in text
    assert "| 64->64 | 1 | fast | 100 | 150 | 200 (0.50) | 50 (2.00) | 90 % | scipy 1,234 |" in text
    assert "| conv | 90 % | 1 | 10.0 | 2.00 | 2.00 | 2.00 | 3.00 |" in text
    assert "- fast used 25 % of a CPU while it should be idle" in text
    assert "- absent skipped: No module" in text
    assert "- 64->64, batch 1: wrong at 90 % failed: ValueError: outputs differ" in text


def test_the_plot_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    result = {"cases": [make_case("64->64", "conv", RESULTS)], "threads": 1, "environment": {"processor": ""}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    command = [sys.executable, str(FOLDER / "run.py"), "--plot", str(tmp_path / "result.json"), str(tmp_path / "a.png")]
    subprocess.run(command, check=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("block", "removed"), [(1, 389), (2, 194), (4, 97)])  # of 432, 216, 108
def test_masks_have_exact_counts_and_share_columns_in_blocks(block, removed):
    network = workloads.conv_layer(6, 8, 3, 1)
    mask = workloads.random_masks(network, 0.9, block)["conv"]
    blocks = mask.reshape(8 // block, block, 6, 3, 3)
    assert (blocks == blocks[:, :1]).all()
    assert (~blocks[:, 0]).sum() == removed


def test_every_case_is_fixed_and_named_once():
    cases = workloads.all_cases()
    assert len({(case.group, case.name, case.batch) for case in cases}) == len(cases)
    first, second = (workloads.quick_cases()[0] for _ in range(2))
    np.testing.assert_array_equal(first.inputs(), second.inputs())
    weights = [case.network(0.9).weights()["conv"].value for case in (first, second)]
    np.testing.assert_array_equal(*weights)
    assert np.count_nonzero(weights[0]) == 8 * 16 * 9 - round(0.9 * 8 * 16 * 9)


def small_network():
    """Every kind of layer that the networks have, with a stride, uneven padding and overlapping windows."""
    rng = np.random.default_rng(5)
    layers = {
        "conv": sn.Conv2d(3, 8, (5, 3), (2, 1), (2, 0), seed=rng),
        "relu": sn.ReLU(),
        "pool": sn.MaxPool2d(3, 2),
        "flatten": sn.Flatten(),
        "fc1": sn.Linear(8 * 2 * 4, 12, seed=rng),
        "relu1": sn.ReLU(),
        "fc2": sn.Linear(12, 4, seed=rng),
    }
    network = sn.chain(layers)
    for layer in network.weighted().values():
        layer.bias.value[:] = rng.standard_normal(layer.bias.value.shape)
    network.apply_masks(workloads.random_masks(network, 0.5, 1))
    return network, rng.standard_normal((3, 3, 11, 12)).astype(np.float32)


def divided_layer():
    """A convolution with a stride, dilation and groups."""
    network = workloads.conv_layer(6, 8, 3, 2, dilation=2, groups=2)
    network.apply_masks(workloads.random_masks(network, 0.5, 1))
    return network, np.random.default_rng(5).standard_normal((3, 6, 11, 12)).astype(np.float32)


def branched_network():
    """Every layer that joins or follows branches: sums of two and three, x + x, a concatenation, both shortcuts."""
    rng, graph = np.random.default_rng(7), sn.Graph()
    graph.add("relu0", sn.ReLU(), "input")  # not in place: the input is the caller's
    graph.add("stem", sn.Conv2d(3, 6, 3, padding=1, seed=rng), "input")
    graph.add("stem_norm", sn.BatchNorm(6))
    graph.add("stem_relu", sn.ReLU())  # nor this one, whose input another layer reads
    graph.add("double", sn.Add(), "stem_norm", "stem_norm")
    graph.add("pool", sn.MaxPool2d(3, 2, 1), "stem_relu")
    graph.add("pool2", sn.MaxPool2d(3, 2, 1), "double")
    graph.add("three", sn.Add(), "pool", "pool2", "pool")
    graph.add("pad", sn.PadShortcut(3, 6, 2), "relu0")
    graph.add("sum", sn.Add(), "three", "pad")
    graph.add("join", sn.Concat(), "sum", "pad")
    graph.add("shortcut", sn.Conv2d(12, 5, 1, 2, seed=rng))
    graph.add("shortcut_norm", sn.BatchNorm(5))
    graph.add("deep", sn.Conv2d(12, 5, 3, 2, 1, seed=rng), "join")
    graph.add("deep_sum", sn.Add(), "deep", "shortcut_norm")
    graph.add("deep_relu", sn.ReLU())
    graph.add("deep_norm", sn.BatchNorm(5))
    graph.add("average", sn.GlobalAvgPool2d())
    graph.add("fc", sn.Linear(5, 4, seed=rng))
    network = graph.network()
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(-0.3, 0.3, parameter.value.shape).astype(np.float32)
    for buffer in network.buffers().values():
        buffer += rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32)
    network.apply_masks(workloads.random_masks(network, 0.5, 1))
    return network, rng.standard_normal((3, 3, 11, 12)).astype(np.float32)


WORKLOADS = (small_network, divided_layer, branched_network)


@pytest.fixture(params=WORKLOADS)
def workload(request):
    return request.param()


def test_networks_with_branches_hide_no_layer():
    """Batch normalisation of every case changes what comes through it, and differently in each channel."""
    cases = {case.name: case for case in workloads.all_cases() if case.group == "branches" and case.batch == 1}
    assert set(cases) == {"resnet20", "resnet18", "mobilenet_small"}
    for case in cases.values():
        network = case.network(0.0)
        for layer in (layer for layer in network.layers().values() if isinstance(layer, sn.BatchNorm)):
            scale, shift = layer.affine()
            assert len(np.unique(scale)) == len(np.unique(shift)) == layer.channels
        assert network.shapes(case.input_shape)["fc"] == (10,)
        assert case.network(0.9).sparsity() == pytest.approx(0.9, abs=0.005)


def test_the_reference_is_the_network_in_float64(workload):
    network, x = workload
    expected = network.astype(np.float64)(x.astype(np.float64))
    np.testing.assert_allclose(workloads.reference_output(network, x), expected, rtol=1e-12, atol=1e-12)


OPERATORS = {
    "Add": lambda x, z: x + z,
    "Sum": lambda *inputs: sum(inputs),
    "Concat": lambda *inputs, axis: np.concatenate(inputs, axis),
    "Conv": lambda x, w, b, kernel_shape, strides, pads, dilations, group: naive_conv.conv2d(
        x, w.astype(np.float64), b.astype(np.float64), strides, pads[:2], dilations, group
    ),
    "Gemm": lambda x, w, b, transB: x @ w.T + b,
    "BatchNormalization": lambda x, gamma, beta, mean, var, epsilon: (
        (gamma / np.sqrt(var + epsilon))[:, None, None] * (x - mean[:, None, None]) + beta[:, None, None]
    ),
    "Relu": lambda x: np.maximum(x, 0),
    "MaxPool": lambda x, kernel_shape, strides, pads: sn.MaxPool2d(kernel_shape, strides, pads[:2]).forward(x),
    "GlobalAveragePool": lambda x: x.mean(axis=(2, 3), keepdims=True),
    "Flatten": lambda x: x.reshape(len(x), -1),
    "Slice": lambda x, starts, ends, axes, steps: x[:, :, starts[0] : ends[0] : steps[0]][..., :: steps[1]],
    "Pad": lambda x, pads: np.pad(x, np.reshape(pads, (2, -1)).T),
}


def test_the_operators_of_onnx_compute_the_reference(workload):
    """Without its packages: what each operator does is written down in NumPy, after its specification."""
    network, x = workload
    values = {"input": x.astype(np.float64)}
    for node in network.nodes:
        operators, constants = onnx_operators(node)
        assert not set(values) & set(constants)
        values |= constants
        for kind, inputs, output, attributes in operators:
            values[output] = OPERATORS[kind](*(values[name] for name in inputs), **attributes)
    np.testing.assert_allclose(values[network.nodes[-1].name], workloads.reference_output(network, x), rtol=1e-6)


def test_inputs_that_others_read_are_not_written_to():
    network, _ = branched_network()
    alone = {node.name for node in network.nodes if reads_alone(network, node)}
    assert "deep_relu" in alone
    assert not alone & {"relu0", "stem_relu", "double", "three", "sum", "join", "deep_sum"}


@pytest.mark.parametrize("torch", [False, pytest.param(True, marks=pytest.mark.torch)])
def test_every_engine_that_is_installed_agrees_with_the_reference(tmp_path, torch):
    networks = {}
    for build in WORKLOADS:
        network, x = build()
        networks[build.__name__] = network
        workload = network, x, workloads.reference_output(network, x)
        (tmp_path / build.__name__).write_bytes(pickle.dumps(workload))
    engines = [name for name, engine in ENGINES.items() if ("torch" in engine.packages) == torch]
    workers = {name: worker.Worker(name, 1, tmp_path) for name in engines}
    assert not workers["torch" if torch else "sparsenet"].skipped
    for name, process in workers.items():
        for program, network in networks.items():
            if not process.skipped and ENGINES[name].takes(network):
                answer = process.ask(do="prepare", program=program, workload=str(tmp_path / program))
                assert "failed" not in answer, (name, program, answer)
                assert process.ask(do="burst", program=program, clock="cpu")["median_us"] > 0
        process.close()


def test_a_wrong_output_is_not_timed():
    network, x = small_network()
    reference = workloads.reference_output(network, x)

    def check(y):
        return worker.first_call(lambda network, x: Program(lambda: y), network, x, reference)

    assert check(reference.astype(np.float32))[1]["error"] < 1e-6
    for wrong in (reference + 0.01 * reference.max(), reference * np.nan):
        with pytest.raises(ValueError, match="differ from the reference"):
            check(wrong)
    with pytest.raises(ValueError, match="outputs of shape"):
        check(reference[:1])


def test_a_dead_process_is_a_failure_not_a_hang(tmp_path):
    scipy = worker.Worker("scipy", 1, tmp_path)
    assert scipy.skipped is None
    assert "KeyError" in scipy.ask(do="burst", program="unknown", clock="wall")["failed"]
    scipy.process.kill()
    assert "ended" in scipy.ask(do="burst", program="unknown", clock="wall")["failed"]
    scipy.close()


def test_an_engine_that_does_not_load_is_skipped(tmp_path):
    unknown = worker.Worker("no such engine", 1, tmp_path)
    assert "KeyError" in unknown.skipped
    unknown.close()


def test_results_of_mnist_say_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "RESULTS", tmp_path / "results")
    mnist.write("some", {"cells": {}})
    result = json.loads((tmp_path / "results" / "some.json").read_text())
    assert result["cells"] == {}
    assert result["environment"]["processor"]
    assert result["environment"]["numpy"] == np.__version__


def test_the_tables_of_mnist_show_what_is_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist, "RESULTS", tmp_path)
    for seed, accuracy in enumerate((0.98, 0.97)):
        rows = {
            "dense": {"accuracy": 0.99, "sparsity": 0.0},
            "masked": {"accuracy": accuracy, "sparsity": 0.9},
            "compact": {"accuracy": 0.99, "sparsity": 0.0, "parameters": 25, "of": 100},
        }
        mnist.write(f"mnist-seed{seed}", {"rows": rows})
    names = ("dense", "l1 layerwise", "l1 channelwise", "random layerwise", "random channelwise")
    cells = {name: {"accuracy": 0.9 + 0.01 * number} for number, name in enumerate(names)}
    mnist.write("mnist-grid", {"cells": cells})
    mnist.print_tables()
    lines = capsys.readouterr().out.splitlines()
    assert "| masked | 97.50 ± 0.71 | -1.50 | 90.0 % |" in lines
    assert "| compact | 99.00 ± 0.00 | +0.00 | 75.0 % |" in lines
    assert lines[-4:] == [
        "| 90 %, retrained | layerwise | channelwise |",
        "| --- | --- | --- |",
        "| l1 | 91.00 | 92.00 |",
        "| random | 93.00 | 94.00 |",
    ]


def test_the_table_of_cifar_sets_measured_gains_beside_the_arithmetic():
    def row(accuracy, macs, single, batch):
        times = {"1": [single - 1, single, single + 1], "32": [batch, batch, batch]}
        return {"accuracy": accuracy, "parameters": macs // 100, "macs": macs, "latency_us": times}

    rows = {"dense": row(0.75, 40_000_000, 1000, 8_000), "sparse": row(0.734, 4_000_000, 400, 10_000)}
    assert list(cifar.table({"images": 5000, "epochs": 10, "rows": rows})) == [
        "| 5,000 images, 10 epochs | accuracy | parameters | MACs | batch 1, µs | speed-up | batch 32, µs | speed-up |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| dense | 75.0 % | 400,000 | 40.0 M (1/1.0) | 1,000 (999 to 1,001) | 1.00 | 8,000 (8,000 to 8,000) | 1.00 |",
        "| sparse | 73.4 % | 40,000 | 4.0 M (1/10.0) | 400 (399 to 401) | 2.50 | 10,000 (10,000 to 10,000) | 0.80 |",
    ]


def test_a_part_of_the_images_has_as_many_of_each_class():
    y = np.array([3, *range(10), *range(10)])
    part = cifar.part_of(sn.Split(np.arange(21.0)[:, None], y), 10)
    assert part.y.tolist() == [3, 0, 1, 2, 4, 5, 6, 7, 8, 9]  # the first of each class
    assert part.x[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
