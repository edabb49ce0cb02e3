"""Oracles that several tests share: central differences, adjoints, random networks."""

import numpy as np

import sparsenet as sn


def central_difference(function, array, step=1e-6):
    """d function() / d array, element by element, by (f(x + h) - f(x - h)) / 2h; function returns a float."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def check_gradients(layer, x, rng, *, training=False, rtol=1e-6):
    """dx and every parameter's gradient against central differences in float64, under a random upstream gradient."""
    upstream = rng.standard_normal(layer.forward(x.copy(), training=training).shape)

    def loss():
        return float((layer.forward(x, training=training) * upstream).sum())

    layer.forward(x, training=training)
    dx = layer.backward(upstream)
    gradients = {name: parameter.grad.copy() for name, parameter in layer.parameters().items()}
    scale = max(1.0, np.abs(dx).max())
    np.testing.assert_allclose(dx, central_difference(loss, x), rtol=rtol, atol=1e-7 * scale)
    for name, parameter in layer.parameters().items():
        expected = central_difference(loss, parameter.value)
        np.testing.assert_allclose(
            gradients[name], expected, rtol=rtol, atol=1e-7 * max(1.0, np.abs(expected).max()), err_msg=name
        )


def in_float64(layer):
    """The layer in float64, for verification."""
    from sparsenet.nn.network import convert_layer

    return convert_layer(layer, np.float64)


def away_from_ties(rng, shape):
    """Distinct values, all of them at least 1e-3 apart from each other and from zero: kinks and ties are far away."""
    size = int(np.prod(shape))
    values = (rng.permutation(size) - size // 2 + 0.5) * 1e-2
    return values.reshape(shape)


def dilate(weight, dilation):
    """The same convolution with zeros between the taps instead of a dilation."""
    spread = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    wide = np.zeros((*weight.shape[:2], *spread), weight.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def random_cnn(seed, *, batch_norm, weight_norm=False, pool=True, depthwise=False):
    """A small random network on 2 x 9 x 8 images: two convolutions, two linear layers; no bias or statistic is 0.

    With `depthwise` a dilated depthwise convolution, which keeps the size, stands between the convolutions.
    """
    rng = np.random.default_rng(seed)
    wrap = sn.WeightNorm if weight_norm else lambda layer: layer
    channels = [2, int(rng.integers(3, 8)), int(rng.integers(3, 8))]
    layers, size = {}, (9, 8)
    for number in (1, 2):
        kernel, stride, padding = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(0, 2))
        layers[f"conv{number}"] = wrap(
            sn.Conv2d(channels[number - 1], channels[number], kernel, stride, padding, seed=rng)
        )
        size = tuple((n + 2 * padding - kernel) // stride + 1 for n in size)
        if batch_norm:
            layers[f"norm{number}"] = sn.BatchNorm(channels[number])
        layers[f"relu{number}"] = sn.ReLU()
        if pool and number == 1 and min(size) > 5:
            layers["pool"] = sn.MaxPool2d(2)
            size = tuple(n // 2 for n in size)
        if depthwise and number == 1:
            spread, count = int(rng.integers(1, 3)), channels[1]
            layers["depthwise"] = wrap(sn.Conv2d(count, count, 3, 1, spread, spread, groups=count, seed=rng))
            layers |= {"norm between": sn.BatchNorm(count)} if batch_norm else {}
            layers["relu between"] = sn.ReLU()
    hidden = int(rng.integers(4, 9))
    layers |= {
        "flatten": sn.Flatten(),
        "fc1": wrap(sn.Linear(channels[2] * size[0] * size[1], hidden, seed=rng)),
        "relu3": sn.ReLU(),
        "fc2": wrap(sn.Linear(hidden, 3, seed=rng)),
    }
    network = sn.chain(layers)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(-0.3, 0.3, parameter.value.shape).astype(np.float32)
    for name, buffer in network.buffers().items():
        buffer += rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32) if "var" in name else np.float32(0.2)
    return network


IMAGE = (2, 9, 8)
