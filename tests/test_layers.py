"""Each layer: central differences in float64, literals, torch where it is installed."""

import numpy as np
import pytest
from helpers import check_gradients, in_float64
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.nn.layer import glorot_uniform, he_normal
from sparsenet.nn.normalization import weight_norm, weight_norm_gradient
from sparsenet.verify.entries.draws import away_from_ties

LAYERS = {
    "conv": (lambda: sn.Conv2d(2, 3, 3, padding=1), (2, 2, 5, 4)),
    "conv stride 2, kernel 2x3": (lambda: sn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 2)), (2, 2, 5, 4)),
    "conv dilation 2x1": (lambda: sn.Conv2d(2, 3, 3, padding=1, dilation=(2, 1)), (2, 2, 5, 4)),
    "conv in 2 groups": (lambda: sn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=1, groups=2), (2, 4, 5, 4)),
    "conv depthwise": (lambda: sn.Conv2d(3, 3, 3, 2, 2, dilation=2, groups=3), (2, 3, 5, 4)),
    "conv depthwise, two of each": (lambda: sn.Conv2d(3, 6, 2, groups=3), (2, 3, 4, 4)),
    "linear": (lambda: sn.Linear(4, 3), (5, 4)),
    "relu": (sn.ReLU, (3, 4, 2, 2)),
    "max pool": (lambda: sn.MaxPool2d(2), (2, 2, 4, 6)),
    "max pool, odd image": (lambda: sn.MaxPool2d(2), (2, 2, 5, 7)),
    "max pool 3, stride 2, padding 1": (lambda: sn.MaxPool2d(3, 2, 1), (2, 2, 5, 6)),
    "average pool": (lambda: sn.AvgPool2d(2), (2, 2, 5, 4)),
    "average pool 3, stride 1, padding 1": (lambda: sn.AvgPool2d(3, 1, 1), (2, 2, 4, 4)),
    "global average pool": (sn.GlobalAvgPool2d, (2, 3, 4, 5)),
    "batch norm, images": (lambda: sn.BatchNorm(3), (4, 3, 2, 3)),
    "batch norm, features": (lambda: sn.BatchNorm(3), (6, 3)),
    "flatten": (sn.Flatten, (2, 3, 2, 2)),
    "dropout": (lambda: sn.Dropout(0.4), (4, 5)),
    "weight norm, conv": (lambda: sn.WeightNorm(sn.Conv2d(2, 3, 3)), (2, 2, 4, 4)),
    "weight norm, depthwise": (lambda: sn.WeightNorm(sn.Conv2d(3, 3, 2, groups=3)), (2, 3, 4, 4)),
    "weight norm, linear": (lambda: sn.WeightNorm(sn.Linear(4, 3)), (5, 4)),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_by_central_differences(rng, name, training):
    if name == "dropout" and training:
        pytest.skip("draws a new mask at every forward; see test_dropout")
    build, shape = LAYERS[name]
    layer = in_float64(build())
    for parameter in layer.parameters().values():
        parameter.value += rng.uniform(-0.5, 0.5, parameter.value.shape)
    x = away_from_ties(rng, shape) if name in ("relu",) or "max" in name else rng.standard_normal(shape)
    if isinstance(layer, sn.BatchNorm):
        layer.running_var += 0.5
        layer.momentum = 0.0  # the statistics must not move between the evaluations of the difference
    check_gradients(layer, x, rng, training=training)


@settings(max_examples=15)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    counts=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_gradients_of_any_convolution(kernel, stride, padding, dilation, counts, seed):
    inputs, outputs, groups = counts
    rng = np.random.default_rng(seed)
    layer = sn.Conv2d(inputs * groups, outputs * groups, kernel, stride, padding, dilation, groups, seed=rng)
    check_gradients(in_float64(layer), rng.standard_normal((2, inputs * groups, 5, 6)), rng)


@pytest.mark.parametrize("name", LAYERS)
def test_output_shape_is_the_shape_of_the_output(rng, name):
    build, shape = LAYERS[name]
    layer = build()
    y = layer.forward(rng.standard_normal(shape).astype(np.float32))
    assert layer.output_shape(shape[1:]) == y.shape[1:]
    assert y.dtype == np.float32


def torch_twin(name):
    from torch import nn

    return {
        "conv": lambda: nn.Conv2d(2, 3, 3, padding=1),
        "conv stride 2, kernel 2x3": lambda: nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 2)),
        "conv dilation 2x1": lambda: nn.Conv2d(2, 3, 3, padding=1, dilation=(2, 1)),
        "conv in 2 groups": lambda: nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=1, groups=2),
        "conv depthwise": lambda: nn.Conv2d(3, 3, 3, 2, 2, dilation=2, groups=3),
        "conv depthwise, two of each": lambda: nn.Conv2d(3, 6, 2, groups=3),
        "linear": lambda: nn.Linear(4, 3),
        "relu": nn.ReLU,
        "max pool": lambda: nn.MaxPool2d(2),
        "max pool, odd image": lambda: nn.MaxPool2d(2),
        "max pool 3, stride 2, padding 1": lambda: nn.MaxPool2d(3, 2, 1),
        "average pool": lambda: nn.AvgPool2d(2),
        "average pool 3, stride 1, padding 1": lambda: nn.AvgPool2d(3, 1, 1),
        "batch norm, images": lambda: nn.BatchNorm2d(3),
        "batch norm, features": lambda: nn.BatchNorm1d(3),
    }[name]().double()


@pytest.mark.torch
@pytest.mark.parametrize("name", [n for n in LAYERS if not any(w in n for w in ("global", "flat", "drop", "weight"))])
def test_forward_and_backward_are_torchs(rng, name):
    twin = torch_twin(name)
    import torch

    build, shape = LAYERS[name]
    layer = in_float64(build())
    names = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    for key, parameter in layer.parameters().items():
        parameter.value[...] = rng.standard_normal(parameter.value.shape)
        getattr(twin, names[key]).data = torch.from_numpy(parameter.value.copy())
    x = rng.standard_normal(shape)
    tx = torch.from_numpy(x).requires_grad_()
    ty, y = twin(tx), layer.forward(x, training=True)
    dy = rng.standard_normal(y.shape)
    ty.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), tx.grad.numpy(), rtol=1e-8, atol=1e-10)
    for key, parameter in layer.parameters().items():
        np.testing.assert_allclose(parameter.grad, getattr(twin, names[key]).grad.numpy(), rtol=1e-8, atol=1e-10)
    for key, buffer in layer.buffers().items():
        np.testing.assert_allclose(buffer, getattr(twin, key).numpy(), rtol=1e-9)


def test_batch_norm_by_hand():
    layer = sn.BatchNorm(1, eps=1.0, momentum=0.5)
    layer.gamma.value[:], layer.beta.value[:] = 2, 1
    x = np.array([[0.0], [2.0], [4.0], [2.0]], np.float32)  # mean 2, variance 2
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y[:, 0], 1 + 2 * np.array([-2, 0, 2, 0]) / np.sqrt(3), rtol=1e-6)
    assert layer.running_mean[0] == 1.0  # half way from 0 to 2
    np.testing.assert_allclose(layer.running_var[0], (1 + 8 / 3) / 2, rtol=1e-6)  # the unbiased variance is 8 / 3
    scale, shift = layer.affine()
    np.testing.assert_allclose(layer.forward(x)[:, 0], scale[0] * x[:, 0] + shift[0], rtol=1e-6)


def test_batch_norm_refuses_a_single_value():
    with pytest.raises(ValueError, match="at least two"):
        sn.BatchNorm(2).forward(np.ones((1, 2), np.float32), training=True)


def test_batch_norm_of_two_values_with_momentum_one():
    layer = sn.BatchNorm(1, momentum=1)
    y = layer.forward(np.array([[1.0], [5.0]], np.float32), training=True)  # mean 3, variance 4, unbiased 8
    np.testing.assert_allclose(y[:, 0], [-1, 1], rtol=1e-5)
    assert (layer.running_mean.tolist(), layer.running_var.tolist()) == ([3.0], [8.0])
    wide = sn.BatchNorm(1, momentum=1)
    wide.forward(np.array([1, 5], np.float32).reshape(1, 1, 1, 2), training=True)
    assert (wide.running_mean.tolist(), wide.running_var.tolist()) == ([3.0], [8.0])


@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (4, 2, 3, 3), (4, 6, 1, 1), (4,)])
def test_batch_norm_refuses_other_channels(shape):
    layer = sn.BatchNorm(3)
    for training in (False, True):
        with pytest.raises(ValueError, match="BatchNorm takes 3 channels"):
            layer.forward(np.ones(shape, np.float32), training=training)
    assert not layer.running_mean.any()


def test_statistics_that_do_not_fit_are_refused():
    layer = sn.BatchNorm(3)
    for name in ("running_mean", "running_var"):
        with pytest.raises(ValueError, match=f"{name} must hold a number for each of 3 channels"):
            setattr(layer, name, np.ones(2, np.float32))
        with pytest.raises(TypeError, match=f"{name} must be float32 or float64"):
            setattr(layer, name, np.ones(3, int))


def test_dropout(rng):
    layer = sn.Dropout(0.25, seed=3)
    x = np.ones((400, 100), np.float32)
    assert layer.forward(x) is x
    y = layer.forward(x, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01
    dy = rng.standard_normal(x.shape).astype(np.float32)
    np.testing.assert_array_equal(layer.backward(dy), dy * y)
    with pytest.raises(ValueError, match="rate"):
        sn.Dropout(1.0)


def test_max_pool_gives_the_gradient_to_the_first_of_equals():
    for window, shape in ((2, (1, 1, 2, 2)), (3, (1, 1, 3, 3))):
        layer = sn.MaxPool2d(window)
        x = np.zeros(shape, np.float32)
        layer.forward(x)
        dx = layer.backward(np.full((1, 1, 1, 1), 5, np.float32))
        assert dx.ravel().tolist() == [5] + [0] * (x.size - 1)


def test_nan_and_infinity_pass_through(rng):
    for build in (
        sn.ReLU,
        lambda: sn.MaxPool2d(2),
        lambda: sn.MaxPool2d(3, 1, 1),
        lambda: sn.Conv2d(1, 1, 3, padding=1),
    ):
        x = rng.standard_normal((1, 1, 4, 4)).astype(np.float32)
        x[0, 0, 1, 1] = np.nan
        assert np.isnan(build().forward(x)).any()


def test_weight_norm_formula(rng):
    direction, gain = rng.standard_normal((3, 2, 2, 2)), rng.standard_normal(3)
    weight = weight_norm(direction, gain)
    np.testing.assert_allclose(np.linalg.norm(weight.reshape(3, -1), axis=1), np.abs(gain))
    np.testing.assert_allclose(weight, weight_norm(7 * direction, gain))  # the length of v does not matter
    by_hand = weight_norm(np.array([[3.0, 4.0]]), np.array([10.0]))
    assert by_hand.tolist() == [[6.0, 8.0]]
    dv, dg = weight_norm_gradient(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]), np.array([10.0]))
    np.testing.assert_allclose(dg, [0.6])
    np.testing.assert_allclose(dv, [[10 / 5 * (1 - 0.36), 10 / 5 * (-0.48)]])
    assert not weight_norm(np.zeros((1, 3)), np.ones(1)).any()


def test_a_mask_on_a_normalised_weight_leaves_the_others_as_they_are(rng):
    layer = sn.WeightNorm(sn.Linear(6, 4, seed=2))
    layer.gain.value *= 3
    before, mask = layer.weight.value.copy(), rng.random((4, 6)) < 0.5
    mask[1] = False
    layer.set_mask(mask)
    np.testing.assert_allclose(layer.weight.value, before * mask, rtol=1e-6)
    assert not layer.direction.value[~mask].any()


@pytest.mark.parametrize("layer", [sn.Linear(5, 4, seed=1), sn.Conv2d(5, 4, (2, 3), seed=1)])
def test_selected_units_and_columns_of_a_normalised_weight_keep_their_values(layer):
    """Columns of v that go would change its norm: g follows; units take their g along."""
    weight = sn.WeightNorm(layer).weight
    weight.gain.value[:] = 3, 2, 1, -1
    value = weight.value.copy()
    columns = weight.select(np.array([0, 3, 4]), 1)
    np.testing.assert_allclose(columns.value, value[:, [0, 3, 4]], rtol=1e-5)
    assert np.array_equal(columns.direction.value, weight.direction.value[:, [0, 3, 4]])
    units = weight.select(np.array([1, 3]), 0)
    np.testing.assert_allclose(units.value, value[[1, 3]], rtol=1e-6)
    assert units.gain.value.tolist() == [2, -1]
    assert np.array_equal(weight.value, value)


@pytest.mark.parametrize("samples", [1, 3, 6])
def test_a_wider_layer_takes_narrower_samples(samples):
    layer = sn.chain({"fc": sn.Linear(5, 4, seed=0)}).astype(np.float64)["fc"]
    x = np.random.default_rng(0).standard_normal((samples, 5)).astype(np.float32)
    assert np.allclose(layer.forward(x), x @ layer.weight.value.T, atol=1e-5)


def test_no_samples_are_flattened_to_no_rows():
    assert sn.Flatten().forward(np.zeros((0, 3, 2, 5), np.float32)).shape == (0, 30)


def test_settings_of_layers_unless_told():
    assert sn.Conv2d(2, 4, 3).config() == {
        "in_channels": 2,
        "out_channels": 4,
        "kernel_size": (3, 3),
        "stride": (1, 1),
        "padding": (0, 0),
        "dilation": (1, 1),
        "groups": 1,
    }
    assert sn.BatchNorm(2).config() == {"channels": 2, "eps": 1e-5, "momentum": 0.1}
    assert sn.Dropout().config() == {"rate": 0.5}
    assert (
        sn.MaxPool2d(3).config() == sn.AvgPool2d(3).config() == {"window": (3, 3), "stride": (3, 3), "padding": (0, 0)}
    )
    for default, told in (
        (sn.Conv2d(2, 4, 3), sn.Conv2d(2, 4, 3, init=he_normal, seed=0)),
        (sn.Linear(2, 4), sn.Linear(2, 4, init=he_normal, seed=0)),
    ):
        assert np.array_equal(default.weight.value, told.weight.value)
    x = np.ones((20, 20), np.float32)
    assert np.array_equal(sn.Dropout().forward(x, True), sn.Dropout(seed=0).forward(x, True))


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (sn.Conv2d(2, 3, 1), [(3, 4, 4), (2, 4), (2, 4, 4, 4)]),
        (sn.Linear(2, 3), [(3,), (2, 1)]),
        (sn.BatchNorm(2), [(3,), (3, 2, 2), ()]),
        (sn.MaxPool2d(1), [(4, 4), (1, 2, 4, 4)]),
        (sn.GlobalAvgPool2d(), [(4, 4), (1, 2, 4, 4)]),
    ],
)
def test_shapes_that_a_layer_does_not_take_are_refused(layer, shapes):
    for shape in shapes:
        with pytest.raises(ValueError, match="takes"):
            layer.output_shape(shape)


def test_initialisation_has_the_stated_variance():
    rng = np.random.default_rng(0)
    he = he_normal((64, 32, 3, 3), rng)
    assert abs(he.std() / np.sqrt(2 / (32 * 9)) - 1) < 0.02
    glorot = glorot_uniform((64, 32, 3, 3), rng)
    bound = np.sqrt(6 / (9 * (32 + 64)))
    assert np.abs(glorot).max() <= bound
    assert abs(glorot.std() / (bound / np.sqrt(3)) - 1) < 0.02
    grouped = glorot_uniform((64, 8, 3, 3), rng, groups=4)  # 8 inputs and 16 outputs in each of the groups
    assert abs(grouped.std() / np.sqrt(6 / (9 * (8 + 16)) / 3) - 1) < 0.02
    depthwise = sn.Conv2d(512, 512, 3, groups=512).weight.value
    assert abs(depthwise.std() / np.sqrt(2 / 9) - 1) < 0.03


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: sn.Conv2d(0, 1, 3), ValueError, "in_channels must be at least 1, not 0"),
        (lambda: sn.Conv2d(1, 1, 0), ValueError, "kernel_size"),
        (lambda: sn.Conv2d(1, 1, 3, stride=0), ValueError, "stride"),
        (lambda: sn.Conv2d(1, 1, 3, padding=-1), ValueError, "padding"),
        (lambda: sn.Conv2d(1, 1, (3, 3, 3)), ValueError, "pair"),
        (lambda: sn.Conv2d(1, 1, 3, dilation=(1, 0)), ValueError, "dilation must be at least 1, not 0"),
        (lambda: sn.Conv2d(2, 2, 3, groups=0), ValueError, "groups must be at least 1, not 0"),
        (lambda: sn.Conv2d(4, 6, 3, groups=3), ValueError, "in_channels must be a multiple of groups, 3, not 4"),
        (lambda: sn.Conv2d(6, 4, 3, groups=3), ValueError, "out_channels must be a multiple of groups, 3, not 4"),
        (lambda: sn.Linear(2.5, 1), TypeError, "in_features must be an integer"),
        (lambda: sn.MaxPool2d(2, padding=2), ValueError, "at most half"),
        (lambda: sn.BatchNorm(3, eps=-1), ValueError, "eps"),
        (lambda: sn.WeightNorm(sn.ReLU()), TypeError, "Conv2d or Linear"),
    ],
)
def test_bad_arguments_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_mask_that_keeps_all_changes_nothing_in_training(rng):
    """Weight normalisation keeps the length of v and the optimiser's memory of it in step, whatever the sign of g."""
    x, y = rng.standard_normal((16, 4)).astype(np.float32), rng.integers(0, 3, 16)
    masked = sn.chain({"fc": sn.WeightNorm(sn.Linear(4, 3, seed=1))})
    masked["fc"].gain.value *= np.array([1, -2, 3], np.float32)
    sgd = sn.SGD(lr=0.05, momentum=0.9)
    sn.fit(masked, (x, y), epochs=3, optimizer=sgd)
    free = masked.copy()
    masked.apply_masks({"fc": np.ones((3, 4), bool)})
    for network in (masked, free):
        sn.fit(network, (x, y), epochs=3, optimizer=sgd)
    assert np.array_equal(masked["fc"].weight.value, free["fc"].weight.value)


def test_a_mask_holds_against_set_weight(rng):
    for build in (lambda: sn.Linear(4, 3), lambda: sn.WeightNorm(sn.Linear(4, 3))):
        layer, mask = build(), rng.random((3, 4)) < 0.5
        layer.set_mask(mask)
        layer.set_weight(np.where(mask, np.float32(1), np.float32(np.nan)))
        np.testing.assert_allclose(layer.weight.value, mask, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "error"),
    [(np.ones((2, 2), np.float32), ValueError), (np.ones((4, 3), int), TypeError), ([[1.0]], TypeError)],
)
def test_a_wrong_initialiser_is_named(value, error):
    with pytest.raises(error, match=r"init\(shape, rng\)"):
        sn.Linear(3, 4, init=lambda shape, rng: value)


@pytest.mark.parametrize("name", ["conv", "linear", "relu", "max pool", "average pool"])
def test_a_wrong_upstream_gradient_never_reaches_a_kernel(rng, name):
    build, shape = LAYERS[name]
    layer = build()
    dy = np.ones_like(layer.forward(rng.standard_normal(shape).astype(np.float32)))
    for wrong in (np.repeat(dy, 50, axis=-1), dy[..., :1]):
        with pytest.raises(ValueError, match="dy must have the output's shape"):
            layer.backward(wrong)
    with pytest.raises(TypeError, match="dy must be float32"):
        layer.backward(dy.astype(np.float64))
