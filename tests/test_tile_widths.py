"""Tiles of half lines and of whole ones give the same layers on every machine, and a plan chooses between them."""

import os
import pickle

import numpy as np
import pytest
from helpers import dilate

import sparsenet as sn
from sparsenet.engine import autotune, lowering, peak
from sparsenet.engine.autotune import UNLIKELY, Setting, candidates
from sparsenet.engine.folding import FoldedLayer
from sparsenet.engine.program import Program
from sparsenet.kernels import naive_conv
from sparsenet.kernels.sparse_matrix import to_csr
from sparsenet.kernels.tiling import Geometry, tile_convolution, tile_linear
from sparsenet.machine.tile_shape import Tile
from sparsenet.machine.vectors import LANES, LINE, REGISTERS, WIDEST

WIDTHS = (LANES, LINE)
FEW = "SPARSENET_TEST_EXAMPLES" in os.environ


def run(step, x, y, threads=1):
    """Fill y with a step's outputs for x, from memory that holds NaN wherever nothing was written."""
    prepared = Program([step], len(x), threads).prepare()
    prepared.memory.view(np.float32)[:] = np.nan
    prepared.run(x, y)


def assert_near(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=1e-5, atol=1e-5 * scale)


# (channels, height, width), outputs, kernel, stride, padding, dilation, groups, outputs of a block
LAYERS = [
    ((3, 17, 17), 5, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    ((4, 9, 40), 8, (3, 3), (1, 1), (1, 1), (1, 1), 1, 4),
    ((3, 20, 20), 4, (5, 5), (2, 2), (2, 2), (1, 1), 1, 1),
    ((4, 7, 7), 4, (3, 3), (1, 1), (2, 2), (2, 2), 2, 2),
    ((6, 7, 9), 4, (1, 1), (1, 1), (0, 0), (1, 1), 1, 1),
    ((2, 12, 30), 3, (2, 3), (1, 3), (0, 2), (1, 3), 1, 1),
]


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("layer", LAYERS[:3] if FEW else LAYERS)
def test_convolution(layer, lanes):
    shape, outputs, kernel, stride, padding, dilation, groups, rows = layer
    if not Tile(rows, 1, 1, width=lanes).fits:
        pytest.skip("a vector takes too many registers here")
    rng = np.random.default_rng(1)
    conv = sn.Conv2d(shape[0], outputs, kernel, stride, padding, dilation, groups)
    weight, x = conv.weight.value.astype(np.float32), rng.standard_normal((1, *shape)).astype(np.float32)
    mask = np.repeat(rng.random((outputs // rows, *weight.shape[1:])) < 0.5, rows, axis=0) if rows > 1 else None
    mask = rng.random(weight.shape) < 0.5 if mask is None else np.resize(mask, weight.shape)
    folded = FoldedLayer(conv, to_csr(weight, mask, groups), rng.standard_normal(outputs).astype(np.float32), False)
    step = lowering.lower_convolution(folded, folded.as_blocks(rows), shape, widths=(lanes,))
    assert step.tile.lanes == lanes
    y = np.full((1, step.output_size), np.nan, np.float32)
    run(step, x, y)
    weights = np.split(dilate((weight * mask).astype(np.float64), dilation), groups)
    inputs, biases = np.split(x.astype(np.float64), groups, axis=1), np.split(folded.bias.astype(np.float64), groups)
    each = [naive_conv.conv2d(*part, stride, padding) for part in zip(inputs, weights, biases, strict=True)]
    assert_near(y, np.concatenate(each, axis=1))


@pytest.mark.parametrize("lanes", WIDTHS)
def test_pooling_and_a_second_input_in_the_same_tiles(lanes):
    rng = np.random.default_rng(2)
    conv = sn.Conv2d(3, 4, 3, padding=1)
    weight, x = conv.weight.value.astype(np.float32), rng.standard_normal((1, 3, 12, 20)).astype(np.float32)
    folded = FoldedLayer(conv, to_csr(weight, None), np.zeros(4, np.float32), True)
    expected = naive_conv.conv2d(x.astype(np.float64), weight.astype(np.float64), np.zeros(4), (1, 1), (1, 1))
    step = lowering.lower_convolution(folded, folded.matrix, (3, 12, 20), pool=True, widths=(lanes,))
    y = np.full((1, step.output_size), np.nan, np.float32)
    run(step, x, y)
    assert_near(y, np.maximum(expected, 0).reshape(1, 4, 6, 2, 10, 2).max(axis=(3, 5)))
    step = lowering.lower_convolution(folded, folded.matrix, (3, 12, 20), adds=True, widths=(lanes,))
    assert step.tile.lanes == lanes
    assert step.input_sizes == (720, 960)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("batch", [5, 8, 19])
def test_samples_as_lanes(lanes, batch):
    rng = np.random.default_rng(3)
    linear, conv = sn.Linear(21, 10), sn.Conv2d(3, 4, 3, padding=1)
    for layer, shape in ((linear, (21,)), (conv, (3, 2, 2))):
        weight, x = layer.weight.value.astype(np.float32), rng.standard_normal((batch, *shape)).astype(np.float32)
        mask, bias = rng.random(weight.shape) < 0.5, rng.standard_normal(len(weight)).astype(np.float32)
        folded = FoldedLayer(layer, to_csr(weight, mask), bias, False)
        if layer is linear:
            step = lowering.lower_linear(folded, folded.matrix, batch, widths=(lanes,))
            expected = x.astype(np.float64) @ (weight * mask).T + bias
        else:
            step = lowering.lower_convolution(folded, folded.matrix, shape, batch=batch, widths=(lanes,))
            expected = naive_conv.conv2d(x.astype(np.float64), (weight * mask).astype(np.float64), bias, (1, 1), (1, 1))
        assert step.tile.lanes == lanes
        y = np.full((batch, step.output_size), np.nan, np.float32)
        run(step, x, y)
        assert_near(y, expected)


@pytest.mark.parametrize(("samples", "batch", "lanes"), [(1, 3, 4), (3, 3, 4), (4, 4, 4), (5, 5, 8)])
@pytest.mark.parametrize("rows", [1, 2])
def test_few_samples_take_narrow_vectors(samples, batch, lanes, rows):
    """Four inputs in a line where no more than four samples are; a plan may get fewer samples than it is made for."""
    rng = np.random.default_rng(4)
    linear = sn.Linear(40, 11)
    weight, x = linear.weight.value.astype(np.float32), rng.standard_normal((samples, 40)).astype(np.float32)
    mask = np.repeat(rng.random((6, 40)) < 0.5, 2, axis=0)[:11]
    folded = FoldedLayer(linear, to_csr(weight, mask), rng.standard_normal(11).astype(np.float32), False)
    step = lowering.lower_linear(folded, folded.as_blocks(rows), batch, widths=(LANES,))
    if LANES == 8:
        assert (step.tile.lanes, step.sizes.apart) == (lanes, lanes)
    y = np.full((samples, 11), np.nan, np.float32)
    run(step, x, y)
    assert_near(y, x.astype(np.float64) @ (weight * mask).T + folded.bias)


def test_registers_of_a_tile():
    """A vector that is wider than a register takes several, and the weight beside it as many."""
    largest = REGISTERS - 2
    assert Tile(1, largest, 1, width=WIDEST).fits
    assert not Tile(1, largest + 1, 1, width=WIDEST).fits
    assert Tile(1, 3, 1, width=2 * WIDEST).registers == 6
    assert not Tile(1, REGISTERS // 2, 1, width=2 * WIDEST).fits


def test_the_model_knows_halves():
    """A whole line in one go is worth a whole vector; in two halves the narrow one needs fewer copies of each row."""
    pointwise = Geometry((64, 28, 28), 64, (1, 1))
    cost = {
        (lanes, once): tile_convolution(pointwise, 1, density=0.1, widths=(lanes,), at_once=once).cost
        for lanes in WIDTHS
        for once in WIDTHS
    }
    assert cost[LINE, LINE] < cost[LANES, LINE]
    assert cost[LANES, LANES] <= cost[LINE, LANES]
    assert cost[LANES, LANES] == cost[LANES, LINE]  # half a line takes one turn on both
    for once in WIDTHS:
        best = tile_convolution(pointwise, 1, density=0.1, widths=WIDTHS, at_once=once)
        assert best.cost == min(cost[lanes, once] for lanes in WIDTHS)
    assert tile_linear(64, 64, LANES, 1, widths=WIDTHS, at_once=LINE).tile.lanes == LANES  # else half of them empty


@pytest.mark.parametrize(("fast", "expected"), [(2.0, 16), (1.6, 16), (1.3, 8), (1.0, 8)])
def test_whether_the_machine_works_in_halves_is_measured(monkeypatch, fast, expected):
    monkeypatch.setattr(peak, "WIDTHS", (8, 16))
    monkeypatch.setattr(peak, "WIDEST", 16)
    monkeypatch.setattr(peak, "measure_peak", {8: 1e9, 16: fast * 1e9}.get)
    assert peak.numbers_at_once.__wrapped__() == expected


@pytest.fixture
def both(monkeypatch):
    """A machine with two widths; the one that is asked for second is so many times slower by the clock."""
    for module in (autotune, lowering):
        monkeypatch.setattr(module, "WIDTHS", WIDTHS)
    monkeypatch.setattr(autotune, "UNLIKELY", 10)  # the model is never sure

    def clock(slow):
        def measure(runs, *sizes):
            return {name: 3.0 if name.endswith(slow) else 2.0 for name in runs}

        monkeypatch.setattr(autotune, "_measure", measure)

    return clock


def make_network():
    network = sn.chain({"conv": sn.Conv2d(6, 8, 3, padding=1, seed=1), "relu": sn.ReLU()})
    network.apply_masks({"conv": np.random.default_rng(0).random((8, 6, 3, 3)) < 0.2})
    return network


@pytest.mark.parametrize("lanes", WIDTHS)
def test_a_plan_takes_the_width_that_is_faster(both, lanes):
    (other,) = {*WIDTHS} - {lanes}
    both(f"{other} lanes")
    network = make_network()
    plan = sn.compile(network, (6, 20, 20), threads=1)
    (step,) = plan.steps
    assert step.form == "csr"
    assert step.compiled.tile.lanes == lanes
    assert set(step.measured) == {f"csr, {LANES} lanes", "csr, 16 lanes"}
    assert lowering.exact_form(step.form, step.compiled) == f"csr, {lanes} lanes"
    x = np.random.default_rng(1).standard_normal((1, 6, 20, 20)).astype(np.float32)
    assert_near(plan(x), network.forward(x))
    assert f"vectors of {lanes}" in plan.explain(verbose=True)
    again = pickle.loads(pickle.dumps(plan))
    assert again.steps[0].compiled.tile == step.compiled.tile
    assert np.array_equal(again(x), plan(x))


def test_a_form_that_is_named_is_not_measured(both):
    both("nothing")
    plan = sn.compile(make_network(), (6, 20, 20), threads=1, form="csr")
    assert not plan.steps[0].measured


def test_a_width_of_another_machine_becomes_one_of_this(monkeypatch):
    """A plan that was pickled where registers are wider."""
    monkeypatch.setattr(autotune, "WIDTHS", (8,))
    layer = sn.Conv2d(2, 2, 3)
    folded = FoldedLayer(layer, to_csr(layer.weight.value), layer.bias.value, False)
    setting = Setting((2, 9, 9), (2, 7, 7), 1, 1, 0.01)
    assert list(candidates("csr, 16 lanes", folded, setting)) == ["csr"]
    assert candidates("csr, many lanes", folded, setting) == {}


def test_a_width_that_the_model_is_sure_of_is_not_measured(monkeypatch):
    for module in (autotune, lowering):
        monkeypatch.setattr(module, "WIDTHS", WIDTHS)
    narrow = f"csr, {LANES} lanes"
    costs = {narrow: 1.0, "csr, 16 lanes": 1.01 * UNLIKELY, "dense": 10.0}
    assert autotune._is_poor_width("csr, 16 lanes", costs)
    assert not autotune._is_poor_width(narrow, costs)
    assert not autotune._is_poor_width("dense", costs)
    assert not autotune._is_poor_width("blas", costs)
