"""Entries of compiled plans: each kind of step alone, what is folded, whole networks in every form."""

from collections.abc import Callable, Iterator

import numpy as np

from ...engine import entry_points, folding
from ...engine.compile import compile
from ...kernels import depthwise_conv, merging, pooling
from ...nn.layers import Conv2d, ReLU
from ...nn.merge import Add, Concat, PadShortcut
from ...nn.network import Graph, Network, chain
from ...nn.normalization import BatchNorm
from ...nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ..definitions import convolution, graphs
from ..definitions import layers as definitions
from ..entry import SINGLE, Comparison, Entry
from .networks import IMAGE, branched_network, images, masked, plain_network, started

FOLDED = """scale (W x + b) + shift = (scale W) x + (scale b + shift), with batch normalisation's
scale = gamma / sqrt(var + eps),  shift = beta - scale mean"""


def _fold(function, oracle, rng) -> Iterator[Comparison]:
    """The folded first layer of a network, and what the network has behind its batch normalisation, or its ReLU."""
    for build, last in ((plain_network, "relu"), (branched_network, "depthwise_norm")):
        network = masked(build(rng), rng, 0.7)
        found, name = oracle(network, images(rng)), "conv" if last == "relu" else "depthwise"
        node = next(node for node in network.nodes if node.name == name)
        folded = function(network, node)
        y = convolution.conv2d(found[node.inputs[0]], folded.weight, folded.bias, *folded.layer.geometry)
        yield f"{name} ... {last}", definitions.relu(y) if folded.relu else y, found[last]


def _plan(form: str) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        for build in (plain_network, branched_network):
            network, x = masked(build(rng), rng), images(rng, 2)
            forms = dict.fromkeys(network.weights(), form)
            for batch in (1, 2):
                plan = function(network, IMAGE, batch=batch, threads=1, form=forms)
                yield f"{build.__name__}, batch of {batch}", plan(x), oracle(network, x)

    return compare


def _step(*builds: Callable[[np.random.Generator], Network], form: str = "csr") -> Callable[..., Iterator[Comparison]]:
    """Networks of hardly more than one step; layers with weights have this form."""

    def compare(function, oracle, rng):
        for build in builds:
            for batch in (1, 3):
                network, x = build(rng), images(rng)
                plan = function(network, IMAGE, batch=batch, threads=1, form=dict.fromkeys(network.weights(), form))
                yield f"{network.nodes[-1].layer}, batch of {batch}", plan(x), oracle(network, x)

    return compare


def _alone(*layers) -> Callable[[np.random.Generator], Network]:
    return lambda rng: started(chain({f"layer{number}": layer for number, layer in enumerate(layers)}), rng)


def _joined(layer, *, relu: bool = False, inputs: int = 2) -> Callable[[np.random.Generator], Network]:
    """Branches of normalisations, joined."""

    def build(rng):
        graph = Graph()
        branches = [graph.add(f"norm{number}", BatchNorm(2), "input") for number in range(inputs)]
        graph.add("joined", layer, *branches)
        if relu:
            graph.add("relu", ReLU())
        return started(graph.network(), rng)

    return build


def _compiled(name: str, at: Callable, compare: Callable) -> Entry:
    return Entry(name, "plan", compile, graphs.forward, compare, "definition", SINGLE, at=at)


ENTRIES = (
    _compiled("merging.add_two", merging.add_two, _step(_joined(Add()), _joined(Add(), relu=True))),
    _compiled("merging.add_to", merging.add_to, _step(_joined(Add(), inputs=3), _joined(Add(), relu=True, inputs=4))),
    _compiled("merging.copy_to", merging.copy_to, _step(_joined(Concat()), _joined(Concat(), inputs=3))),
    _compiled(
        "merging.pad_channels",
        merging.pad_channels,
        _step(*(_alone(PadShortcut(2, *arguments)) for arguments in ((5, 2), (2, 1), (3, 3)))),
    ),
    _compiled(
        "depthwise_conv.convolve_channels",
        depthwise_conv.convolve_channels,
        _step(
            _alone(Conv2d(2, 2, 3, padding=1, groups=2)),
            _alone(Conv2d(2, 4, (2, 3), 2, (0, 2), dilation=2, groups=2), ReLU()),
            form="csr, in place",
        ),
    ),
    _compiled("pooling.max_squares", pooling.max_squares, _step(_alone(MaxPool2d(2)))),
    _compiled("pooling.max_forward", pooling.max_forward, _step(_alone(MaxPool2d(3, 2, 1)), _alone(MaxPool2d(2, 1)))),
    _compiled(
        "pooling.average_forward",
        pooling.average_forward,
        _step(_alone(AvgPool2d(2)), _alone(AvgPool2d(3, 2, 1)), _alone(GlobalAvgPool2d())),
    ),
    _compiled("entry_points.scale", entry_points.scale, _step(_alone(BatchNorm(2)), _alone(ReLU()))),
    Entry(
        "folding.fold",
        "plan",
        folding.fold,
        graphs.outputs,
        _fold,
        "definition",
        SINGLE,
        formula=FOLDED,
    ),
    *(
        Entry(
            f"compile.{form.replace(' ', '_')}",
            "plan",
            compile,
            graphs.forward,
            _plan(form),
            "compiled = masked",
            SINGLE,
            formula="plan(x) = f_masked(x) for every x",
        )
        for form in ("csr", "dense", "blas", "csr loops", "scipy")
    ),
)
