"""Networks that tests draw: chains, a residual one, random ones with branches, and a short way to write one down."""

import itertools

import numpy as np

import sparsenet as sn

GRAPH_IMAGE = (3, 9, 8)


def conv(inputs, outputs, kernel=1, *, seed=1, **options):
    """A convolution that keeps the size of the image, its stride apart."""
    return sn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, seed=seed, **options)


def graph_of(*nodes):
    """A network of (name, layer, *sources); a node without sources reads the one before it."""
    graph = sn.Graph()
    for name, layer, *sources in nodes:
        graph.add(name, layer, *sources)
    return graph.network()


def randomize(network, seed):
    """No bias, shift or statistic is 0, so that nothing is silent by chance."""
    rng = np.random.default_rng(seed)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(0.1, 0.4, parameter.shape).astype(np.float32)
    for name, buffer in network.buffers().items():
        buffer += rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32) if "var" in name else np.float32(0.2)
    return network.astype(np.float64)


def linear_chain(sizes, seed, relu=True):
    """Linear layers of these sizes with biases, ReLUs between them and behind the last, or none."""
    rng, layers = np.random.default_rng(seed), {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers[f"fc{number}"] = sn.Linear(inputs, outputs, seed=rng)
        layers[f"fc{number}"].bias.value[:] = rng.standard_normal(outputs)
        if relu:
            layers[f"relu{number}"] = sn.ReLU()
    return sn.chain(layers)


def residual(rng_seed=3):
    """A residual network in float32, with a grouped and a weight-normalised layer."""
    network = graph_of(
        ("stem", conv(3, 4, 3, seed=rng_seed), "input"),
        ("norm", sn.BatchNorm(4)),
        ("relu", sn.ReLU()),
        ("a", conv(4, 6, 3, seed=rng_seed + 1)),
        ("relu_a", sn.ReLU()),
        ("b", sn.WeightNorm(conv(6, 4, 1, seed=rng_seed + 2))),
        ("sum", sn.Add(), "b", "relu"),
        ("grouped", conv(4, 8, 3, groups=2, seed=rng_seed + 3)),
        ("relu_g", sn.ReLU()),
        ("mean", sn.GlobalAvgPool2d()),
        ("fc", sn.Linear(8, 3, seed=rng_seed + 4)),
    )
    return randomize(network, rng_seed).astype(np.float32)


class RandomGraph:
    """Draws a network of convolutions (strided, grouped, depthwise), sums, concatenations and so on, layer by layer."""

    def __init__(self, seed, shape, steps):
        self.rng, self.graph, self.shapes, self.unread = np.random.default_rng(seed), sn.Graph(), {}, set()
        self.count = 0
        self.add(conv(shape[0], 4, 3, seed=self.rng), ("input",), (4, *shape[1:]))
        for _ in range(steps):
            getattr(
                self, self.rng.choice(["convolve", "convolve", "norm", "relu", "pool", "sum", "sum", "concat", "pad"])
            )()
        self.finish()

    def add(self, layer, sources, shape):
        self.count += 1
        name = self.graph.add(f"{type(layer).__name__}{self.count}".lower(), layer, *sources)
        self.shapes[name] = shape
        self.unread = self.unread - set(sources) | {name}
        return name

    def pick(self, condition=lambda shape: True):
        names = [name for name, shape in self.shapes.items() if len(shape) == 3 and condition(shape)]
        return self.rng.choice(names[-4:]) if names else None

    def convolve(self, source=None, outputs=None, stride=None):
        source = source or self.pick()
        channels, *size = self.shapes[source]
        kernel = int(self.rng.choice([1, 3]))
        stride = stride or int(self.rng.choice([1, 1, 2]))
        groups = int(self.rng.choice([1, 1, 1, channels, 2 if channels % 2 == 0 else 1]))
        if outputs:
            groups = 1
        outputs = outputs or (channels if groups > 1 else int(self.rng.integers(2, 6)))
        layer = sn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, seed=self.rng)
        layer = sn.WeightNorm(layer) if self.rng.random() < 0.15 else layer
        return self.add(layer, (source,), (outputs, *((n - 1) // stride + 1 for n in size)))

    def norm(self):
        source = self.pick()
        self.add(sn.BatchNorm(self.shapes[source][0]), (source,), self.shapes[source])

    def relu(self):
        source = self.pick()
        self.add(sn.ReLU(), (source,), self.shapes[source])

    def pool(self):
        source = self.pick(lambda shape: min(shape[1:]) >= 4)
        if source:
            channels, *size = self.shapes[source]
            kind = [sn.MaxPool2d, sn.AvgPool2d][self.rng.integers(2)]
            self.add(kind(2), (source,), (channels, *(n // 2 for n in size)))

    def sum(self):
        source = self.pick()
        shape = self.shapes[source]
        same = [name for name, other in self.shapes.items() if other == shape]
        terms = [source, str(self.rng.choice(same))]
        if len(same) == 1 and self.rng.random() < 0.9:
            terms[1] = self.convolve(source, shape[0], 1)
        self.add(sn.Add(), terms, shape)

    def concat(self):
        source = self.pick()
        same = [name for name, other in self.shapes.items() if other[1:] == self.shapes[source][1:]]
        parts = [source, str(self.rng.choice(same))]
        channels = sum(self.shapes[part][0] for part in parts)
        if channels <= 16:
            self.add(sn.Concat(), parts, (channels, *self.shapes[source][1:]))

    def pad(self):
        source = self.pick()
        channels, *size = self.shapes[source]
        outputs, stride = channels + int(self.rng.integers(0, 4)), int(self.rng.integers(1, 3))
        shape = (outputs, *(-(-n // stride) for n in size))
        padded = self.add(sn.PadShortcut(channels, outputs, stride), (source,), shape)
        if self.rng.random() < 0.7:
            beside = self.convolve(source, outputs, stride)
            self.add(sn.Add(), (beside, padded), shape)
            del self.shapes[padded]  # nothing else reads it: a normalisation of its zeros would emit its shift

    def finish(self):
        ends, mixed = [], self.rng.random() < 0.2  # of flattened images of several sizes the columns are not known
        for name in sorted(self.unread, key=list(self.shapes).index):
            channels, *size = self.shapes[name]
            flat = self.rng.random() < 0.5 and (mixed or not ends)
            features = channels * size[0] * size[1] if flat else channels
            ends.append(self.add(sn.Flatten() if flat else sn.GlobalAvgPool2d(), (name,), (features,)))
        features = sum(self.shapes[end][0] for end in ends)
        last = self.add(sn.Concat(), ends, (features,)) if len(ends) > 1 else ends[0]
        hidden = self.add(sn.Linear(features, 5, seed=self.rng), (last,), (5,))
        relu = self.add(sn.ReLU(), (hidden,), (5,))
        self.add(sn.Linear(5, 3, seed=self.rng), (relu,), (3,))


def random_graph(seed, steps):
    return randomize(RandomGraph(seed, GRAPH_IMAGE, steps).graph.network(), seed)
