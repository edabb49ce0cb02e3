"""Plans of networks with branches: compiled = network, whatever joins whatever; which buffers are used again when."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.engine import program
from sparsenet.engine.buffers import GIVEN, Block, assign_buffers, place_by_lifetime
from sparsenet.engine.layout import Layout
from sparsenet.kernels import tiling

FORMS = ("csr", "dense", "auto", "scipy")
SHAPE = (4, 10, 9)


class Doubled(sn.ReLU):
    """A layer of one input that the engine does not know."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


class Difference(sn.Add):
    """A layer of several inputs that the engine does not know: x_1 - x_2 - ..."""

    def forward(self, *inputs, training=False):
        return 2 * inputs[0] - super().forward(*inputs, training=training)


class Builder:
    """A graph that grows by random layers; `shapes` has the shape of each node so far."""

    def __init__(self, seed):
        self.rng, self.graph, self.shapes, self.unread = np.random.default_rng(seed), sn.Graph(), {"input": SHAPE}, []

    def add(self, layer, *sources):
        name = self.graph.add(f"{type(layer).__name__.lower()}{len(self.shapes)}", layer, *sources)
        self.shapes[name] = layer.output_shape(*(self.shapes[source] for source in sources))
        self.unread = [other for other in self.unread if other not in sources] + [name]
        return name

    def draw(self, fits=lambda shape: True):
        """A node with such a shape: often a late one."""
        found = [name for name, shape in self.shapes.items() if len(shape) == 3 and fits(shape)]
        return found[max(self.rng.integers(len(found)), self.rng.integers(len(found)))]

    def conv(self, source):
        channels, height, width = self.shapes[source]
        groups = int(self.rng.choice([1, 1, *(g for g in (2, channels) if channels % g == 0)]))
        outputs = groups * int(self.rng.integers(1, 3)) if groups == channels else int(self.rng.choice([4, 6, 8]))
        size, stride = int(self.rng.choice([1, 3])), int(self.rng.choice([1, 1, 2])) if min(height, width) > 4 else 1
        conv = sn.Conv2d(channels, outputs, size, stride, size // 2, groups=groups, seed=self.rng)
        last = self.add(conv, source)
        if self.rng.random() < 0.5:
            last = self.add(sn.BatchNorm(outputs), last)
        if self.rng.random() < 0.3:
            last = self.add(sn.Dropout(0.5), last)
        return self.add(sn.ReLU(), last) if self.rng.random() < 0.5 else last

    def join(self, kind):
        """A sum (of one shape, x + x too), or a concatenation (of one size), of two or three."""
        first = self.draw()
        alike = (lambda s: s[1:] == self.shapes[first][1:]) if kind is sn.Concat else lambda s: s == self.shapes[first]
        if kind is not sn.Concat and self.rng.random() < 0.7:  # a block: two ways from one node
            channels = self.shapes[first][0]
            conv = sn.Conv2d(channels, channels, 3, padding=1, seed=self.rng)
            sources = [self.add(conv, first), self.draw(alike)][:: self.rng.choice([1, -1])]
        else:
            sources = [first, self.draw(alike)] + [self.draw(alike)] * int(self.rng.integers(2))
        last = self.add(kind(), *sources)
        return self.add(sn.ReLU(), last) if self.rng.random() < 0.5 else last

    def grow(self):
        source = self.draw()
        channels, height, width = self.shapes[source]
        kind = int(self.rng.integers(12))
        if kind < 4:
            self.conv(source)
        elif kind < 7:
            self.join(sn.Add)
        elif kind < 9:
            self.join(sn.Concat)
        elif kind == 9:
            self.add(
                sn.PadShortcut(channels, channels + int(self.rng.integers(4)), int(self.rng.integers(1, 4))), source
            )
        elif kind == 10 and min(height, width) > 3:
            self.add(sn.MaxPool2d(2) if self.rng.random() < 0.5 else sn.AvgPool2d(3, 2, 1), source)
        elif self.rng.random() < 0.5:
            self.join(Difference)
        else:
            self.add(Doubled(), source)

    def network(self, steps):
        """What is left unread goes, flattened or averaged, into one linear layer; nothing is 0 by accident."""
        while len(self.shapes) <= steps:
            self.grow()
        ends = [self.add((sn.Flatten, sn.GlobalAvgPool2d)[self.rng.integers(2)](), name) for name in self.unread]
        last = self.add(sn.Concat(), *ends) if len(ends) > 1 else ends[0]
        self.add(sn.Linear(self.shapes[last][0], 3, seed=self.rng), last)
        network = self.graph.network()
        for parameter in network.parameters().values():
            if parameter.value.ndim == 1:
                parameter.value += self.rng.uniform(-0.3, 0.3, parameter.value.shape).astype(np.float32)
        for buffer in network.buffers().values():
            buffer += self.rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32)
        return network


def check(network, shape, batch, threads, form, rng, **options):
    """The plan of a network gives what the network gives, twice the same bits, for smaller and larger batches too."""
    x = rng.standard_normal((batch + 1, *shape)).astype(np.float32)
    expected = network.astype(np.float64)(x.astype(np.float64))
    plan = sn.compile(network, shape, batch=batch, threads=threads, form=form, seconds=0.001, **options)
    first = plan(x)
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max(), err_msg=f"{network}")
    assert np.array_equal(plan(x), first)
    for count in (0, 1, batch):
        np.testing.assert_allclose(plan(x[:count]), expected[:count], rtol=1e-4, atol=2e-5 * np.abs(expected).max())
    return plan, x, first


@pytest.mark.parametrize("form", FORMS)
@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(2, 16),
    batch=st.sampled_from([1, 3, 8]),
    threads=st.sampled_from([1, 2]),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]),
    apart=st.booleans(),
)
def test_random_graphs(form, seed, steps, batch, threads, sparsity, apart):
    network = Builder(seed).network(steps)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, sparsity)
    with pytest.MonkeyPatch.context() as patch:
        if apart:
            patch.setattr(program, "WORK_FOR_A_THREAD", 50)  # every step in many parts
        plan, x, y = check(network, SHAPE, batch, threads, form, np.random.default_rng(seed))
        other = sn.compile(
            network, SHAPE, batch=batch, threads=3 - threads, form={s.name: s.form for s in plan.steps if s.form}
        )
    if form == "csr":
        np.testing.assert_allclose(other(x), y, rtol=1e-4, atol=1e-4 * np.abs(y).max())
    assert set(plan.profile(x[:batch])) == {step.name for step in plan.steps}


MODELS = {
    "resnet20": (sn.models.resnet20, {}),
    "resnet20, convolutions as shortcuts": (sn.models.resnet20, {"shortcut": "conv"}),
    "vgg_small": (sn.models.vgg_small, {}),
    "mobilenet_small": (sn.models.mobilenet_small, {}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_models_pruned_to_ninety_percent(name, batch, rng):
    build, options = MODELS[name]
    network = build((3, 16, 16), seed=3, **options)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(-0.2, 0.2, parameter.value.shape).astype(np.float32)
    for buffer in network.buffers().values():
        buffer += rng.uniform(0.1, 0.5, buffer.shape).astype(np.float32)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    for form in ("csr", "auto"):
        plan, x, y = check(network, (3, 16, 16), batch, 2, form, rng)
    again = pickle.loads(pickle.dumps(plan))
    assert np.array_equal(again(x), y)
    assert set(plan.matrices()) == set(network.weighted())


def residual(size, channels=(6, 6), relu=True, seed=0, layer=sn.Conv2d, **options):
    """x -> relu(conv(x) + shortcut(x)) on images of this size."""
    graph = sn.Graph()
    graph.add("conv", layer(*channels, 3, padding=1, seed=seed, **options))
    graph.add("shortcut", sn.PadShortcut(*channels), "input")
    graph.add("sum", sn.Add(), "conv", "shortcut")
    if relu:
        graph.add("relu", sn.ReLU())
    return graph.network()


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    outputs=st.integers(6, 9),
    relu=st.booleans(),
    parts=st.booleans(),
    form=st.sampled_from(["csr", "bsr 2x1", "bsr 4x1"]),
    seed=st.integers(0, 99),
)
def test_a_sum_is_part_of_the_convolution_before_it(size, outputs, relu, parts, form, seed):
    network = residual(size, (6, outputs), relu, seed)
    rows = {"csr": 1, "bsr 2x1": 2, "bsr 4x1": 4}[form]
    scores = {"conv": np.random.default_rng(seed).random((outputs // rows, 6, 3, 3))}
    mask = sn.make_masks(scores, 0.5)["conv"].repeat(rows, axis=0)
    if outputs % rows:
        mask, form = np.random.default_rng(seed).random((outputs, 6, 3, 3)) < 0.5, "csr"
    network.apply_masks({"conv": mask})
    with pytest.MonkeyPatch.context() as patch:
        if parts:
            patch.setattr(program, "WORK_FOR_A_THREAD", 50)
        rng = np.random.default_rng(seed)
        plan, _, _ = check(network, (6, *size), 2 if seed % 2 else 1, 1 + seed % 3, {"conv": form}, rng)
    assert [step.name for step in plan.steps] == ["shortcut", "conv"]
    assert plan.steps[1].folded == ("sum", "relu")[: 1 + relu]
    assert plan.steps[1].inputs == ("input", "shortcut")


def test_tiles_of_channels_leave_the_sum_apart(rng):
    network = residual((9, 9), (16, 16))
    mask = np.repeat(rng.random((1, 16, 3, 3)) < 0.5, 16, axis=0)
    network.apply_masks({"conv": mask})
    plan, _, _ = check(network, (16, 9, 9), 2, 1, {"conv": "bsr 16x1"}, rng)
    assert [(step.name, step.folded) for step in plan.steps] == [("conv", ()), ("shortcut", ()), ("sum", ("relu",))]


@pytest.mark.parametrize(
    "sources", [("conv", "conv"), ("conv", "conv", "input"), ("conv", "doubled"), ("conv", "other")]
)
def test_a_sum_is_fused_once_and_only_where_it_may_be(sources, rng):
    """x + x, three inputs, one that Python computes, two convolutions of which either could take the sum."""
    graph = sn.Graph()
    graph.add("conv", sn.Conv2d(4, 4, 3, padding=1, seed=1))
    if "doubled" in sources:
        graph.add("doubled", Doubled(), "input")
    if "other" in sources:
        graph.add("other", sn.Conv2d(4, 4, 1, seed=2), "input")
    graph.add("sum", sn.Add(), *sources)
    plan, _, _ = check(graph.network(), SHAPE, 3, 2, "csr", rng)
    names = {2: ["conv", "sum"], 3: ["conv", "sum"]}[len(sources)]
    names = {"doubled": ["doubled", "conv"], "other": ["other", "conv"]}.get(sources[-1], names)
    assert [step.name for step in plan.steps] == names


def test_a_convolution_with_two_readers_keeps_its_output(rng):
    graph = sn.Graph()
    graph.add("conv", sn.Conv2d(4, 4, 3, padding=1, seed=1))
    graph.add("norm", sn.BatchNorm(4))
    graph.add("sum", sn.Add(), "norm", "conv")
    graph.add("relu", sn.ReLU())
    network = graph.network()
    network["norm"].running_mean[:] = 0.3
    plan, _, _ = check(network, SHAPE, 3, 1, "csr", rng)
    assert [(step.name, step.folded) for step in plan.steps] == [("conv", ()), ("norm", ()), ("sum", ("relu",))]


@pytest.mark.parametrize("last", [sn.Dropout(0.5), sn.Flatten(), None])
def test_an_output_that_leaves_no_step(last, rng):
    graph = sn.Graph()
    graph.add("sum", sn.Add(), "input", "input")
    if last is not None:
        graph.add("last", last)
    x = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    network = graph.network()
    assert np.array_equal(sn.compile(network, SHAPE, batch=2)(x), network(x))


def dense_block(readers=1):
    """Three layers, each of which reads all before it; and a linear layer behind them."""
    graph = sn.Graph()
    last, channels = graph.add("stem", sn.Conv2d(4, 4, 3, padding=1, seed=1)), 4
    for number in (1, 2, 3):
        new = graph.add(f"conv{number}", sn.Conv2d(channels, 4, 3, padding=1, seed=number), last)
        last, channels = graph.add(f"concat{number}", sn.Concat(), last, new), channels + 4
    graph.add("pool", sn.MaxPool2d(2))
    graph.add("flatten", sn.Flatten())
    graph.add("fc", sn.Linear(channels * 20, 3, seed=5))
    return graph.network()


@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_concatenation_copies_nothing_that_can_be_written_in_place(batch, threads, rng, monkeypatch):
    monkeypatch.setattr(tiling, "FEWEST_SAMPLES", 99)  # where samples are lanes they go together, and not in place
    plan, _, _ = check(dense_block(), SHAPE, batch, threads, "csr", rng)
    regions = Layout(plan.steps, batch, threads).buffers.regions
    number = {step.name: k for k, step in enumerate(plan.steps)}
    whole = regions[number["concat3"]]
    assert whole.stride == 16 * 90
    for channels, names in ((0, ("stem", "concat1", "concat2")), (4, ["conv1"]), (8, ["conv2"]), (12, ["conv3"])):
        for name in names:
            assert regions[number[name]] == whole._replace(offset=whole.offset + 4 * 90 * channels)


def test_what_cannot_lie_in_place_is_copied(rng):
    """The input, one value twice, the output of Python, one that is already part of another concatenation."""
    graph = sn.Graph()
    graph.add("conv", sn.Conv2d(4, 2, 3, padding=1, seed=1))
    graph.add("doubled", Doubled(), "input")
    graph.add("relu", sn.ReLU(), "input")
    graph.add("first", sn.Concat(), "relu", "input", "conv", "conv", "doubled")
    graph.add("second", sn.Concat(), "relu", "first", "relu")
    graph.add("flatten", sn.Flatten())
    graph.add("fc", sn.Linear(24 * 90, 3, seed=1))
    for batch in (1, 5, 20):
        check(graph.network(), SHAPE, batch, 1, "csr", rng)


def test_blocks_that_live_at_once_lie_apart():
    blocks = [Block(64, 0, 1), Block(128, 1, 2), Block(64, 2, 3), Block(128, 3, 3), Block(64, 3, 4)]
    assert place_by_lifetime(blocks) == ([0, 64, 0, 64, 192], 256)
    assert place_by_lifetime([]) == ([], 0)


def test_a_value_that_a_later_stage_reads_is_shared():
    """Steps 0, 1, 2 in one stage, 3 in the next: value 0 is read there too, value 1 stays with the worker."""
    buffers = assign_buffers([16, 16, 16, 16], [(GIVEN,), (0,), (1, 0), (2, 0)], [0, 0, 0, 1], batch=2)
    assert [buffers.regions[v].kind for v in range(4)] == ["shared", "local", "shared", "wanted"]
    assert buffers.shared == 2 * 128
    assert buffers.regions[0].offset != buffers.regions[2].offset


@given(seed=st.integers(0, 1000))
@settings(max_examples=100)
def test_no_value_is_overwritten_before_its_last_reader(seed):
    """Samples go through each stage in any order: what a step reads of a sample is what was written of it."""
    rng = np.random.default_rng(seed)
    count, batch = int(rng.integers(1, 12)), 3
    sizes = [int(n) for n in rng.integers(1, 60, count)]
    reads = [tuple(int(v) for v in rng.integers(-1, k, rng.integers(1, 4))) for k in range(count)]
    reads = [tuple({*sources, k - 1}) for k, sources in enumerate(reads)]
    times = np.cumsum(rng.random(count) < 0.4).tolist()
    buffers = assign_buffers(sizes, reads, times, batch)
    shared = np.full(buffers.shared // 4, -1)
    for time in sorted(set(times)):
        steps = [k for k in range(count) if times[k] == time]
        for sample in rng.permutation(batch):
            local = np.full(buffers.local // 4, -1)

            def numbers(value, sample=sample, local=local):
                kind, offset, stride = buffers.regions[value]
                begin = offset // 4 + (sample * stride if kind == "shared" else 0)
                memory = {"shared": shared, "local": local, "wanted": np.zeros(60, int)}[kind]
                assert begin + sizes[value] <= len(memory)
                return memory[begin : begin + sizes[value]]

            for k in steps:
                for value in reads[k]:
                    assert value == GIVEN or (numbers(value) == 100 * value + sample).all()
                numbers(k)[:] = 100 * k + sample


def test_a_residual_network_runs_sample_by_sample_in_few_buffers():
    network = sn.models.resnet20((3, 8, 8), seed=1)
    plan = sn.compile(network, (3, 8, 8), batch=2, threads=1, form="csr")  # of more, small images go together
    layout = Layout(plan.steps, 2, 1)
    kinds = {layout.buffers.regions[k].kind for k in range(len(plan.steps) - 2)}
    assert kinds == {"local"}
    largest = 4 * 16 * 64
    assert layout.buffers.local < 3.2 * largest  # a block's input, what is inside, and its output
