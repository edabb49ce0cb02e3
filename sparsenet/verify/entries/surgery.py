"""Entries of whole networks: forward and backward, counts, scores over data, units that go together, surgery."""

from collections.abc import Iterator

import numpy as np

from ...nn import counting
from ...nn.layers import Linear, ReLU
from ...nn.merge import Add, Concat
from ...nn.network import Graph, Network, chain
from ...nn.normalization import BatchNorm
from ...pruning import cycle, dependency, scores, scoring, strategies, surgery
from ..definitions import dependency as definitions
from ..definitions import graphs
from ..definitions.criteria_article import deletion_change
from ..definitions.differences import central_difference
from ..entry import EXACT, SINGLE, SLOPE, Comparison, Entry
from ..slopes import compare_slopes
from .networks import IMAGE, branched_network, images, masked, plain_network

NETWORKS = {"plain": plain_network, "branched": branched_network}


def _forward(function, oracle, rng) -> Iterator[Comparison]:
    for what, build in NETWORKS.items():
        network, x = masked(build(rng), rng).astype(np.float64), images(rng).astype(np.float64)
        yield what, function(network.nodes).forward(x), oracle(network, x)


def _backward(function, oracle, rng) -> Iterator[Comparison]:
    """One output read three times, once through a sum and a concatenation."""
    graph = Graph()
    x = graph.add("fc", Linear(3, 4, seed=rng))
    y = graph.add("relu", ReLU())
    graph.add("sum", Add(), graph.add("fc2", Linear(4, 4, seed=rng)), x)
    graph.add("norm", BatchNorm(4))
    graph.add("both", Concat(), "norm", y)
    graph.add("out", Linear(8, 2, seed=rng))
    network = function(graph.network().astype(np.float64).nodes)
    yield from compare_slopes(network, (rng.standard_normal((5, 3)),), rng, oracle=oracle)


def _counts(function, oracle, rng) -> Iterator[Comparison]:
    for what, build in NETWORKS.items():
        network = masked(build(rng), rng)
        yield what, function(network, IMAGE), oracle(network, images(rng))


def _total(function, oracle, rng) -> Iterator[Comparison]:
    network = masked(branched_network(rng), rng)
    counts = oracle(network, images(rng)).values()
    yield "branched", tuple(function(network, IMAGE)), tuple(sum(column) for column in zip(*counts, strict=True))


def _score(function, oracle, rng) -> Iterator[Comparison]:
    """Taylor scores, sample by sample, of a linear function: what deleting a weight changes, by brute force."""
    network = chain({"fc": Linear(4, 3, seed=rng)}).astype(np.float64)
    x, y, weight = rng.standard_normal((5, 4)), rng.standard_normal((5, 3)), network["fc"].weight.value

    def loss(output, target):
        return float((output * target).sum()), target

    made = function(network, scores.taylor, (x, y), loss=loss, batch_size=1, max_batches=None)
    expected = [oracle(lambda n=n: loss(weight @ x[n], y[n])[0], weight) for n in range(5)]
    yield "mean over samples", made["fc"], np.abs(expected).mean(axis=0)


def _units(function, oracle, rng) -> Iterator[Comparison]:
    for what, build in NETWORKS.items():
        network = build(rng)
        labels = [
            [(member.layer, member.axis, index) for member in group.members for index in member.indices[unit]]
            for group in function(network)
            for unit in range(group.units)
        ]
        expected = [{label for label in unit if label[0] != "input"} for unit in oracle(network, images(rng))]
        yield what, sorted(str(sorted(unit)) for unit in labels), sorted(str(sorted(unit)) for unit in expected)


def _prune(function, oracle, rng) -> Iterator[Comparison]:
    for what, build in NETWORKS.items():
        for sparsity in (0.3, 0.7):
            network = build(rng)
            found = {name: np.abs(rng.standard_normal(weight.shape)) for name, weight in network.weights().items()}
            expected = oracle(network, images(rng), found, sparsity)
            made = function(network, found, strategies.channelwise, sparsity)
            yield f"{what}, {sparsity}", made, {name: expected[name] for name in made}


def _surgery(function, oracle, rng) -> Iterator[Comparison]:
    for what, build in NETWORKS.items():
        network, x = build(rng), images(rng)
        cycle.prune(network, scoring.score(network, scores.l1), strategies.channelwise, 0.5)
        small = function(network)
        yield f"{what}: y", small.forward(x), oracle(network, x)
        left = {name: len(weight.value) for name, weight in small.weights().items()}
        rows = {n: int(mask.reshape(len(mask), -1).any(axis=1).sum()) for n, mask in network.masks().items()}
        yield f"{what}: filters left", left, rows


FORWARD = "y_k = f_k(y_i, ...), i the nodes that node k reads, in order; y_input = x"
BACKWARD = "dL/dy_i = sum of (df_k/dy_i)^T dL/dy_k over the nodes k that read i"
SCORE = "I = mean of criterion(theta, dL_b/dtheta) over batches b"
PRUNE = (
    "round(sparsity n) of each n units alike go: those of the lowest sums of I over all of their rows, in all layers"
)

ENTRIES = (
    Entry(
        "Network.forward",
        "network",
        Network,
        graphs.forward,
        _forward,
        "definition",
        at=Network.forward,
        formula=FORWARD,
    ),
    Entry(
        "Network.backward",
        "network",
        Network,
        central_difference,
        _backward,
        "chain rule",
        SLOPE,
        at=Network.backward,
        formula=BACKWARD,
    ),
    Entry(
        "counting.count_layers",
        "network",
        counting.count_layers,
        graphs.count_multiplications,
        _counts,
        "definition",
        EXACT,
    ),
    Entry(
        "counting.count_total",
        "network",
        counting.count_total,
        graphs.count_multiplications,
        _total,
        "definition",
        EXACT,
    ),
    Entry(
        "scoring.score",
        "criterion",
        scoring.score,
        deletion_change,
        _score,
        "Molchanov et al. 2019, eq. 8",
        formula=SCORE,
    ),
    Entry(
        "dependency.dependency_groups",
        "surgery",
        dependency.dependency_groups,
        definitions.units,
        _units,
        "Fang et al. 2023",
        EXACT,
        formula="channels that meet in a sum are one unit, with the rows that make them and the columns that read them",
    ),
    Entry(
        "cycle.prune",
        "surgery",
        cycle.prune,
        definitions.filter_masks,
        _prune,
        "Li et al. 2017, section 3.3",
        EXACT,
        formula=PRUNE,
    ),
    Entry(
        "surgery.remove_pruned_structures",
        "surgery",
        surgery.remove_pruned_structures,
        graphs.forward,
        _surgery,
        "compacted = masked",
        SINGLE,
        formula="f_small(x) = f_masked(x) for every x, with as many filters as the masks keep",
    ),
)
