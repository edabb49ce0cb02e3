"""The engine: masked = compacted = compiled, in every form; CSR patterns; SciPy's path as the oracle."""

import threading

import numpy as np
import pytest
from helpers import IMAGE, forms_of, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.engine.autotune import Setting, candidates, runnable
from sparsenet.engine.folding import FoldedLayer
from sparsenet.kernels import csr_loops, im2col_conv, linear, naive_conv
from sparsenet.kernels.scipy_reference import im2col, scipy_conv2d, scipy_linear
from sparsenet.kernels.sparse_matrix import to_csr, to_weight

FORMS = ("auto", "dense", "csr", "scipy")


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]),
    groups=st.sampled_from([1, 1, 2, 4]),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_csr_convolution(size, kernel, stride, padding, dilation, groups, density, relu, seed):
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(n + 2 * p < k for n, p, k in zip(size, padding, window, strict=True)):
        return
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((3, 4, *size)), rng.standard_normal((4, 4 // groups, *kernel))
    bias, mask = rng.standard_normal(4), rng.random(weight.shape) < density
    weight *= mask
    expected = naive_conv.conv2d(x, weight, bias, stride, padding, dilation, groups)
    matrix = to_csr(weight, mask, groups)
    product = scipy_conv2d(x, matrix, bias, kernel, stride, padding, dilation)
    np.testing.assert_allclose(product, expected, rtol=1e-9, atol=1e-12)
    y = np.empty_like(expected)
    csr_loops.csr_conv2d(x, matrix, bias, kernel, stride, padding, y, dilation=dilation, relu=relu)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 33])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("relu", [False, True])
def test_csr_linear(rng, samples, density, relu):
    x, weight, bias = rng.standard_normal((samples, 13)), rng.standard_normal((7, 13)), rng.standard_normal(7)
    mask = rng.random(weight.shape) < density
    expected = x @ (weight * mask).T + bias
    matrix = to_csr(weight, mask)
    np.testing.assert_allclose(scipy_linear(x, matrix, bias), expected, atol=1e-12)
    y = np.empty((samples, 7))
    csr_loops.csr_linear(x, matrix, bias, y, relu=relu)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, atol=1e-12)
    np.testing.assert_allclose(linear.linear(x, weight * mask, bias), expected, atol=1e-12)


def test_the_pattern_is_the_mask_not_the_values():
    weight = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]], np.float32)
    mask = np.array([[True, True, False], [True, False, False]])
    matrix = to_csr(weight, mask)
    assert matrix.data.tolist() == [0, 2, 3]
    assert matrix.indices.tolist() == [0, 1, 0]
    assert matrix.indptr.tolist() == [0, 2, 3]
    assert to_csr(weight).nnz == 6
    assert to_csr(weight, mask, groups=2).toarray().tolist() == [[0, 2, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0]]


def test_columns_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    assert im2col(x, (2, 2), (1, 1), (0, 0)).tolist() == [[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]]
    assert im2col(x, (2, 2), (1, 1), (0, 0), (2, 1)).tolist() == [[1, 2], [2, 3], [7, 8], [8, 9]]


def test_sparse_convolutions_are_not_dilated_unless_told(rng):
    x, weight, bias = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((4, 3, 2, 3)), rng.standard_normal(4)
    geometry = ((2, 1), (1, 0))
    expected = naive_conv.conv2d(x, weight, bias, *geometry, (1, 1), 1)
    np.testing.assert_allclose(scipy_conv2d(x, to_csr(weight), bias, (2, 3), *geometry), expected, atol=1e-12)
    y = np.empty_like(expected)
    csr_loops.csr_conv2d(x, to_csr(weight), bias, (2, 3), *geometry, y)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert np.array_equal(to_weight(to_csr(weight), weight.shape), weight)


@given(
    seed=st.integers(0, 500),
    batch_norm=st.booleans(),
    weight_norm=st.booleans(),
    depthwise=st.booleans(),
    strategy=st.sampled_from(["layerwise", "proportional", "channelwise"]),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_masked_compacted_compiled_are_one_function(seed, batch_norm, weight_norm, depthwise, strategy, sparsity):
    network = random_cnn(seed, batch_norm=batch_norm, weight_norm=weight_norm, depthwise=depthwise)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.STRATEGIES[strategy], sparsity)
    x = np.random.default_rng(seed).standard_normal((5, *IMAGE)).astype(np.float32)
    expected = network.astype(np.float64)(x.astype(np.float64))
    scale = np.abs(expected).max()
    for net in (network, sn.remove_pruned_structures(network)):
        for form in FORMS:
            plan = sn.compile(net, IMAGE, batch=4, threads=2, form=form)
            np.testing.assert_allclose(plan(x), expected, rtol=1e-4, atol=2e-5 * scale, err_msg=form)


@pytest.mark.parametrize("form", FORMS)
def test_other_layers_and_orders(rng, form):
    """Layers in places where nothing can be folded, a network that begins with a pool and ends in a flatten."""
    network = sn.chain(
        {
            "pool": sn.AvgPool2d(2),
            "norm": sn.BatchNorm(2),
            "relu": sn.ReLU(),
            "drop": sn.Dropout(0.5),
            "conv": sn.Conv2d(2, 4, 3, padding=1),
            "drop2": sn.Dropout(0.5),
            "relu2": sn.ReLU(),
            "norm2": sn.BatchNorm(4),
            "conv2": sn.Conv2d(4, 3, 2, stride=2),
            "pool2": sn.MaxPool2d(2, 1, 1),
            "flatten": sn.Flatten(),
        }
    )
    for buffer in network.buffers().values():
        buffer += np.float32(0.3)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5)
    x = rng.standard_normal((6, *IMAGE)).astype(np.float32)
    plan = sn.compile(network, IMAGE, batch=8, form=form)
    np.testing.assert_allclose(plan(x), network(x), rtol=1e-4, atol=1e-5)
    top = sn.chain({"conv": sn.Conv2d(2, 3, 3), "average": sn.GlobalAvgPool2d(), "fc": sn.Linear(3, 2)})
    np.testing.assert_allclose(sn.compile(top, IMAGE, form=form)(x), top(x), rtol=1e-4, atol=1e-5)
    nothing = sn.chain({"flatten": sn.Flatten(), "drop": sn.Dropout(0.1)})
    np.testing.assert_array_equal(sn.compile(nothing, IMAGE, form=form)(x), nothing(x))


@pytest.mark.parametrize("form", [*FORMS, "blas", "csr loops"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_dilated_and_grouped_layers(rng, form, sparsity):
    network = sn.chain(
        {
            "dilated": sn.Conv2d(2, 6, 3, padding=(1, 2), dilation=(1, 2), seed=rng),
            "relu": sn.ReLU(),
            "groups": sn.Conv2d(6, 8, (3, 2), groups=2, seed=rng),
            "norm": sn.BatchNorm(8),
            "depthwise": sn.Conv2d(8, 8, 3, 2, 2, (2, 1), groups=8, seed=rng),
            "relu2": sn.ReLU(),
            "three of each": sn.Conv2d(8, 24, 2, groups=8, seed=rng),
            "flatten": sn.Flatten(),
        }
    )
    for parameter in network.parameters().values():
        parameter.value += rng.uniform(-0.2, 0.2, parameter.value.shape).astype(np.float32)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, sparsity)
    x = rng.standard_normal((5, *IMAGE)).astype(np.float32)
    expected = network.astype(np.float64)(x.astype(np.float64))
    for batch in (1, 4):
        plan = sn.compile(network, IMAGE, batch=batch, form=form)
        np.testing.assert_allclose(plan(x), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("outputs", "groups", "blocks"),
    [
        (6, 1, {"bsr 2x1", "bsr 4x1"}),
        (8, 2, {"bsr 2x1", "bsr 4x1"}),
        (12, 2, {"bsr 2x1"}),
        (6, 6, set()),
        (32, 2, {"bsr 2x1", "bsr 4x1", "bsr 16x1"}),
    ],
)
def test_no_block_of_rows_reaches_over_two_groups(rng, outputs, groups, blocks):
    layer = sn.Conv2d(6, outputs, 3, padding=2, dilation=2, groups=groups, seed=rng)
    mask = np.ones(layer.weight.value.shape, bool)
    mask[:, :, 1] = False  # the same in all rows, so that any block would do
    layer.set_mask(mask)
    x = rng.standard_normal((3, 6, 9, 20)).astype(np.float32)
    layer.bias.value[:] = rng.standard_normal(outputs)
    folded = FoldedLayer(layer, to_csr(layer.weight.value, mask, groups), layer.bias.value)
    setting = Setting(x.shape[1:], (outputs, 9, 20), len(x), 1, 0.01)
    found = candidates("auto", folded, setting)
    assert forms_of(found) == {"csr", "dense", "blas"} | blocks
    for name, build in found.items():
        y = np.full((3, outputs, 9, 20), np.nan, np.float32)
        runnable(build(), setting)(x, y)
        np.testing.assert_allclose(y, layer.forward(x), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_plan_takes_any_number_of_samples_and_owns_its_results(rng, trained):
    network = trained.copy()
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    plan = sn.compile(network, (1, 28, 28), batch=8)
    x = rng.random((21, 1, 28, 28), np.float32)
    first = plan(x)
    kept = first.copy()
    np.testing.assert_allclose(first, network(x), rtol=1e-4, atol=1e-5)
    assert plan(x[:0]).shape == (0, 10)
    plan(x[::-1])  # not contiguous
    assert np.array_equal(first, kept)
    for parameter in network.parameters().values():
        parameter.value *= 2
    assert np.array_equal(plan(x), kept)  # frozen: it does not follow the network


def test_a_plan_called_from_eight_threads_gives_the_same_bits(rng, trained):
    network = trained.copy()
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    plan = sn.compile(network, (1, 28, 28), batch=16, threads=2)
    inputs = rng.random((8, 40, 1, 28, 28), np.float32)
    expected, results = [plan(x) for x in inputs], [None] * 8

    def call(index):
        for _ in range(5):
            results[index] = plan(inputs[index])

    workers = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(a, b) for a, b in zip(expected, results, strict=True))


def test_what_is_folded_is_told(rng):
    network = sn.models.simple_cnn(batch_norm=True)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.98, exclude=["fc2"])
    plan = sn.compile(network, (1, 28, 28), batch=2, threads=1, form="csr")
    assert (plan.steps[0].name, plan.steps[0].folded) == ("conv1", ("norm1", "relu1", "pool1"))
    assert "conv1 + norm1 + relu1 + pool1" in plan.explain()
    assert set(plan.profile(rng.random((2, 1, 28, 28), np.float32))) == {s.name for s in plan.steps}
    automatic = sn.compile(network, (1, 28, 28), batch=2, threads=1)
    assert {s.name: s.form for s in automatic.steps}["fc2"] == "dense"  # nothing was pruned there
    assert all(s.form in ("dense", "csr", "") for s in automatic.steps)


def test_a_pruned_weight_contributes_nothing_a_kept_one_everything():
    """NaN and infinity reach an output only through a kept weight: not 0 * NaN."""
    network = sn.chain({"fc": sn.Linear(3, 2, seed=1)})
    network.apply_masks({"fc": np.array([[True, True, False], [True, True, True]])})
    for batch in (1, 2):
        x = np.ones((batch, 3), np.float32)
        x[:, 2] = np.nan
        y = sn.compile(network, (3,), batch=batch, form="csr")(x)
        assert np.isfinite(y[:, 0]).all()
        assert np.isnan(y[:, 1]).all()
    network = sn.chain({"conv": sn.Conv2d(1, 2, 3, padding=1, seed=1), "relu": sn.ReLU()})
    mask = np.ones((2, 1, 3, 3), bool)
    mask[0] = False
    network.apply_masks({"conv": mask})
    x = np.ones((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 1] = np.nan
    for form in ("csr", "dense"):
        y = sn.compile(network, (1, 4, 4), form=form)(x)
        assert np.isnan(y[0, 1, :3, :3]).all()
        assert np.isfinite(y[0, 1, 3]).all()
    assert np.isfinite(sn.compile(network, (1, 4, 4), form="csr")(x)[0, 0]).all()


def test_bad_input_is_named(trained):
    plan = sn.compile(trained, (1, 28, 28))
    good = np.zeros((2, 1, 28, 28), np.float32)
    for bad, error, message in [
        (good.astype(np.float64), TypeError, "a plan takes float32 arrays, not float64"),
        (good[:, :, 1:], ValueError, r"takes \(N, 1, 28, 28\)"),
        (good.tolist(), TypeError, "not list"),
    ]:
        with pytest.raises(error, match=message):
            plan(bad)
    with pytest.raises(ValueError, match="at most one batch"):
        plan.profile(good)
    with pytest.raises(ValueError, match="form must be one of"):
        sn.compile(trained, (1, 28, 28), form="sparse")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        sn.compile(trained, (1, 28, 28), batch=0)
    with pytest.raises(ValueError, match="layer 'fc1'"):
        sn.compile(trained, (1, 32, 32))


def test_dense_and_sparse_plan_have_the_accuracy_of_the_masked_network(trained, digits):
    network = trained.copy()
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.proportional, 0.8)
    masked = sn.evaluate(network, digits.test)
    for form in FORMS:
        compiled = sn.evaluate(sn.compile(network, digits.input_shape, batch=64, form=form), digits.test)
        assert compiled.accuracy == masked.accuracy
        assert compiled.loss == pytest.approx(masked.loss, rel=1e-4)


def test_the_dense_kernel_is_checked_by_the_loops_in_float32(rng):
    x, weight = rng.standard_normal((2, 16, 14, 14)).astype(np.float32), rng.standard_normal((32, 16, 3, 3))
    y = im2col_conv.conv2d(x, weight.astype(np.float32), np.zeros(32, np.float32), (1, 1), (1, 1))
    exact = naive_conv.conv2d(
        x.astype(np.float64), weight.astype(np.float32).astype(float), np.zeros(32), (1, 1), (1, 1)
    )
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())
