"""What several tests share: gradients against central differences, random networks."""

import numpy as np

import sparsenet as sn
from sparsenet.verify.definitions.differences import central_difference


def check_gradients(layer, x, rng, *, training=False, rtol=1e-6):
    """dx and every parameter's gradient against central differences in float64, under a random upstream gradient.

    x may be a tuple of arrays, for a layer of several inputs: then each of them is checked.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    upstream = rng.standard_normal(layer.forward(*(each.copy() for each in inputs), training=training).shape)

    def loss():
        return float((layer.forward(*inputs, training=training) * upstream).sum())

    layer.forward(*inputs, training=training)
    dx = layer.backward(upstream)
    gradients = {name: parameter.grad.copy() for name, parameter in layer.parameters().items()}
    for each, gradient in zip(inputs, dx if isinstance(x, tuple) else (dx,), strict=True):
        scale = max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(gradient, central_difference(loss, each), rtol=rtol, atol=1e-7 * scale)
    for name, parameter in layer.parameters().items():
        expected = central_difference(loss, parameter.value)
        np.testing.assert_allclose(
            gradients[name], expected, rtol=rtol, atol=1e-7 * max(1.0, np.abs(expected).max()), err_msg=name
        )


def in_float64(layer):
    """The layer in float64, for verification."""
    from sparsenet.nn.network import convert_layer

    return convert_layer(layer, np.float64)


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


class GraphMaker:
    """Draws a graph layer by layer; `open` holds the shape of every output so far, by its name."""

    def __init__(self, rng, input_shape):
        self.rng, self.graph, self.open, self.read = rng, sn.Graph(), {"input": input_shape}, set()

    def add(self, layer, *sources):
        name = self.graph.add(f"n{len(self.open)}_{type(layer).__name__}", layer, *sources)
        self.open[name] = layer.output_shape(*(self.open[source] for source in sources))
        self.read.update(sources)
        return name

    def pick(self, fits=lambda shape: True):
        names = [name for name, shape in self.open.items() if len(shape) == 3 and fits(shape)]
        return names[self.rng.integers(len(names))]

    def conv(self, source, outputs=None, kernel=None, stride=None):
        """A convolution, whole, in groups or depthwise, often with normalisation and ReLU; the size stays or halves."""
        channels = self.open[source][0]
        groups = (
            int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0])) if outputs is None else 1
        )
        outputs = outputs or groups * int(self.rng.integers(1, 3))
        kernel, stride = kernel or int(self.rng.choice([1, 3])), stride or int(self.rng.integers(1, 3))
        layer = sn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, seed=self.rng)
        layer.bias.value[:] = self.rng.standard_normal(outputs)
        name = self.add(layer, source)
        if self.rng.random() < 0.7:
            norm = sn.BatchNorm(outputs)
            norm.gamma.value[:], norm.beta.value[:] = (
                self.rng.uniform(0.5, 1.5, outputs),
                self.rng.uniform(-1, 1, outputs),
            )
            name = self.add(norm, name)
        return self.add(sn.ReLU(), name) if self.rng.random() < 0.7 else name

    def merge(self):
        """Two or three outputs of one size, perhaps the same one twice: concatenated, or made alike and added."""
        first = self.pick()
        size = self.open[first][1:]
        sources = [first, *(self.pick(lambda shape: shape[1:] == size) for _ in range(self.rng.integers(1, 3)))]
        if self.rng.random() < 0.4:
            return self.add(sn.Concat(), *sources)
        channels = self.open[first][0]
        alike = [s if self.open[s][0] == channels else self.conv(s, channels, 1, 1) for s in sources]
        return self.add(sn.Add(), *alike)

    def pool(self):
        kind = sn.MaxPool2d if self.rng.random() < 0.5 else sn.AvgPool2d
        return self.add(kind(2), self.pick(lambda shape: min(shape[1:]) > 1))

    def shortcut(self):
        source = self.pick()
        channels = self.open[source][0]
        return self.add(sn.PadShortcut(channels, channels + int(self.rng.integers(4)), 2), source)

    def close(self, classes):
        """Everything that nothing reads yet becomes features, all of them one row, and a linear layer ends it."""
        heads = []
        for name in [name for name in self.open if name not in self.read]:
            if self.rng.random() < 0.5:
                heads.append(self.add(sn.GlobalAvgPool2d(), name))
            else:
                flat = self.add(sn.Flatten(), name)
                heads.append(self.add(sn.Linear(self.open[flat][0], 4, seed=self.rng), flat))
        last = self.add(sn.Concat(), *heads) if len(heads) > 1 else heads[0]
        self.add(sn.Linear(self.open[last][0], classes, seed=self.rng), last)
        return self.graph.network()


def random_graph(seed, input_shape=(3, 9, 8), *, steps=7, classes=3):
    """A random network with branches: convolutions of every kind, pooling, shortcuts, Add and Concat, in any order."""
    maker = GraphMaker(np.random.default_rng(seed), input_shape)
    maker.conv("input")
    for _ in range(steps):
        kind = maker.rng.choice(["conv", "merge", "pool", "shortcut"], p=[0.35, 0.4, 0.15, 0.1])
        maker.conv(maker.pick()) if kind == "conv" else getattr(maker, kind)()
    return maker.close(classes)


def forms_of(names):
    """The forms of these candidates, whatever their tiles are: `csr` of "csr, 8 lanes"."""
    return {name.partition(",")[0] for name in names}
