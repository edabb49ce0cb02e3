"""Dependency groups drawn by hand, tied filters ranked as one, and surgery on networks with branches."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.nn.layer import Layer
from sparsenet.pruning.dependency import DependencyGroup, Member, fixed_layers, left_out
from sparsenet.pruning.masks import Channel, Filter


def conv(inputs, outputs, kernel=1, *, seed=1, **options):
    return sn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, seed=seed, **options)


def graph_of(*nodes):
    """A network of (name, layer, *sources); a node without sources reads the one before it."""
    graph = sn.Graph()
    for name, layer, *sources in nodes:
        graph.add(name, layer, *sources)
    return graph.network()


def drawn(network):
    """The groups as they print, without those of the network's inputs and outputs."""
    ends = "its inputs are the network's", "its outputs are the network's"
    return [str(group) for group in sn.dependency_groups(network) if group.stays not in ends]


def without(shape, *units, axis=0):
    mask = np.ones(shape, bool)
    np.moveaxis(mask, axis, 0)[list(units)] = False
    return mask


def randomize(network, seed):
    """No bias, shift or statistic is 0, so that nothing is silent by chance."""
    rng = np.random.default_rng(seed)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(0.1, 0.4, parameter.shape).astype(np.float32)
    for name, buffer in network.buffers().items():
        buffer += rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32) if "var" in name else np.float32(0.2)
    return network.astype(np.float64)


def check_surgery(network, shape, seed=0, *, whole=True):
    """Compacted = masked, before and after training on; returns the compacted network.

    Where not `whole` units were pruned, some may be left that nothing reads: what they are normalised by is another.
    """
    rng = np.random.default_rng(seed)
    small = sn.remove_pruned_structures(network)
    outputs = network.shapes(shape)[network.nodes[-1].name]
    data = rng.standard_normal((6, *shape)), rng.standard_normal((6, *outputs))
    np.testing.assert_allclose(small(data[0]), network(data[0]), rtol=1e-10, atol=1e-11)
    masked, trained = network.copy(), small.copy()
    for _ in range(3):
        for net in (masked, trained):
            train(net, data)
        np.testing.assert_allclose(trained(data[0]), masked(data[0]), rtol=1e-9, atol=1e-9)
    assert not whole or alike(sn.remove_pruned_structures(masked), trained)
    assert alike(sn.remove_pruned_structures(small), small)
    return small


def train(network, data):
    """One step of SGD with momentum and weight decay."""
    x, target = data
    network.backward(sn.mean_squared_error(network.forward(x, training=True), target)[1])
    sgd = sn.SGD(lr=1e-4, momentum=0.9, weight_decay=0.01)
    for parameter in network.parameters().values():
        sgd.update(parameter, sgd.lr)


def alike(one, other):
    """Whether all values, masks, optimiser state and statistics are the same."""
    first, second = one.parameters() | one.weights(), other.parameters() | other.weights()
    assert first.keys() == second.keys()
    for name, parameter in first.items():
        if name.endswith(".gain"):  # that of a row whose weights are all gone may be anything
            continue
        np.testing.assert_allclose(parameter.value, second[name].value, rtol=1e-9, atol=1e-11, err_msg=name)
        for key, array in parameter.state.items():
            np.testing.assert_allclose(array, second[name].state[key], rtol=1e-9, atol=1e-10, err_msg=name)
    for name, mask in one.masks().items():
        assert np.array_equal(mask, other.masks()[name]), name
    for name, buffer in one.buffers().items():
        np.testing.assert_allclose(buffer, other.buffers()[name], rtol=1e-9, err_msg=name)
    return True


def pruned(network, strategy, sparsity, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the layers that stay
        masks = sn.prune(network, sn.score(network, sn.scores.l1), strategy, sparsity, **options)
    return masks


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


IMAGE = (3, 9, 8)


def random_graph(seed, steps):
    return randomize(RandomGraph(seed, IMAGE, steps).graph.network(), seed)


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 14),
    sparsity=st.sampled_from([0.3, 0.5, 0.9]),
    scope=st.sampled_from(["layer", "global"]),
)
def test_random_graphs_by_filters(seed, steps, sparsity, scope):
    network = random_graph(seed, steps)
    rng = np.random.default_rng(seed)
    train(network, (rng.standard_normal((6, *IMAGE)), rng.standard_normal((6, 3))))
    rule = {"layer": sn.strategies.lowest_in_layer, "global": sn.strategies.lowest_of_all}[scope]
    masks = pruned(network, sn.Strategy(Filter(), rule), sparsity)
    small = check_surgery(network, IMAGE, seed)
    fixed = fixed_layers(network, Filter())
    readers = [n.layer for pad in pads(network) for n in network.consumers(pad)]
    for name in masks.keys() - fixed.keys():
        rows = masks[name].reshape(len(masks[name]), -1)
        kept, left = rows.any(axis=1), len(small[name].weight.value)
        assert np.array_equal(kept, rows.all(axis=1))
        # zeros of a shortcut that something else reads may have a shift, or a part in a norm: then the unit stays
        assert left == kept.sum() or (left > kept.sum() and not all(isinstance(layer, sn.Add) for layer in readers))
    for group in sn.dependency_groups(network):
        for member in group.members:
            if member.axis == 0 and member.layer in masks.keys() - fixed.keys():
                mask = masks[member.layer][np.array(member.indices)].reshape(group.units, -1).any(axis=1)
                least, most = (0, 0) if group.stays else (round(sparsity * group.units), group.units - 1)
                assert (~mask).sum() == min(least, most) or (scope == "global" and (~mask).sum() <= most)


def pads(network):
    return [node.name for node in network.nodes if isinstance(node.layer, sn.PadShortcut)]


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 14),
    sparsity=st.sampled_from([0.5, 0.9, 0.97]),
    kind=st.sampled_from(["weights", "channels", "both"]),
)
def test_random_graphs_by_single_weights_and_by_channels(seed, steps, sparsity, kind):
    network = random_graph(seed, steps)
    rng = np.random.default_rng(seed)
    train(network, (rng.standard_normal((6, *IMAGE)), rng.standard_normal((6, 3))))
    if kind != "channels":
        pruned(network, sn.strategies.layerwise, sparsity)
    if kind != "weights":
        pruned(network, sn.Strategy(Channel(), sn.strategies.lowest_in_layer), sparsity)
    check_surgery(network, IMAGE, seed, whole=False)
