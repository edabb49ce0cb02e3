"""Every criterion of the table x kind of network x granularity x scope: what holds whatever scores and is pruned."""

import warnings
from functools import cache, partial

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.pruning.granularity import sum_over_structures

CRITERIA = sn.scores.CRITERIA
GRANULARITIES = {
    "weight": sn.Weight(),
    "filter": sn.Filter(),
    "channel": sn.Channel(),
    "block": sn.Block(2, 3),
}
SCOPES = {"layer": sn.strategies.lowest_in_layer, "global": sn.strategies.lowest_of_all}
IMAGE = (2, 6, 5)
SAMPLES = 24


def plain(wrap=lambda layer: layer):
    """Rounded weights and a dead filter: equal scores, and scores of 0."""
    layers = {
        "conv1": wrap(sn.Conv2d(2, 4, 3, padding=1, seed=1)),
        "relu1": sn.ReLU(),
        "pool": sn.MaxPool2d(2),
        "conv2": wrap(sn.Conv2d(4, 5, 2, seed=2)),
        "norm2": sn.BatchNorm(5),
        "relu2": sn.ReLU(),
        "flatten": sn.Flatten(),
        "fc1": wrap(sn.Linear(10, 6, seed=3)),
        "relu3": sn.ReLU(),
        "fc2": wrap(sn.Linear(6, 3, seed=4)),
    }
    network = sn.chain(layers)
    for weighted in network.weighted().values():
        weighted.set_weight(np.round(4 * weighted.weight.value) / 4)
    network["conv1"].bias.value[1] = -99
    return network


def grouped():
    layers = {
        "grouped": sn.Conv2d(2, 4, 3, padding=1, groups=2, seed=1),
        "relu1": sn.ReLU(),
        "conv": sn.Conv2d(4, 6, 3, 2, 1, seed=2),
        "norm2": sn.BatchNorm(6),
        "relu2": sn.ReLU(),
        "depthwise": sn.Conv2d(6, 6, 3, padding=1, groups=6, seed=3),
        "norm3": sn.BatchNorm(6),
        "relu3": sn.ReLU(),
        "pointwise": sn.Conv2d(6, 4, 1, seed=4),
        "norm4": sn.BatchNorm(4),
        "relu4": sn.ReLU(),
        "pool": sn.GlobalAvgPool2d(),
        "fc": sn.Linear(4, 3, seed=5),
    }
    return sn.chain(layers)


def residual():
    graph = sn.Graph()
    graph.add("stem", sn.Conv2d(2, 4, 3, padding=1, seed=1))
    graph.add("stem_norm", sn.BatchNorm(4))
    start = graph.add("stem_relu", sn.ReLU())
    graph.add("a", sn.Conv2d(4, 4, 3, padding=1, seed=2))
    graph.add("a_norm", sn.BatchNorm(4))
    graph.add("a_relu", sn.ReLU())
    graph.add("b", sn.Conv2d(4, 4, 3, padding=1, seed=3))
    end = graph.add("b_norm", sn.BatchNorm(4))
    graph.add("sum", sn.Add(), end, start)
    graph.add("sum_relu", sn.ReLU())
    graph.add("pool", sn.GlobalAvgPool2d())
    graph.add("fc", sn.Linear(4, 3, seed=4))
    return graph.network()


def regression():
    layers = {
        "fc1": sn.Linear(7, 8, seed=1),
        "norm1": sn.BatchNorm(8),
        "relu1": sn.ReLU(),
        "fc2": sn.Linear(8, 5, seed=2),
        "norm2": sn.BatchNorm(5),
        "relu2": sn.ReLU(),
        "fc3": sn.Linear(5, 2, seed=3),
    }
    return sn.chain(layers)


NETWORKS = {
    "plain": plain,
    "weight-normalised": partial(plain, sn.WeightNorm),
    "grouped": grouped,
    "residual": residual,
    "regression": regression,
}
every_criterion = pytest.mark.parametrize("name", CRITERIA)
every_network = pytest.mark.parametrize("kind", NETWORKS)


def input_shape(kind):
    return (7,) if kind == "regression" else IMAGE


def loss_of(kind):
    return sn.mean_squared_error if kind == "regression" else sn.softmax_cross_entropy


def data_of(kind, dtype=np.float32):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((SAMPLES, *input_shape(kind))).astype(dtype)
    return x, rng.standard_normal((SAMPLES, 2)).astype(dtype) if kind == "regression" else rng.integers(0, 3, SAMPLES)


@cache
def network_of(kind):
    """To be copied: statistics and movement as after some training, no bias, scale or shift at its start."""
    network, rng = NETWORKS[kind](), np.random.default_rng(5)
    recorder, judge = sn.optimizers.Movement(sn.SGD(lr=1e-3)), {"loss": loss_of(kind), "metric": lambda y, t: 0.0}
    sn.fit(network, data_of(kind), epochs=1, batch_size=SAMPLES, optimizer=recorder, **judge)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(-0.3, 0.3, parameter.value.shape).astype(np.float32)
    network.forget()
    return network


def score(network, name, kind, data=None, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not scored, for want of what")
        data = data_of(kind) if data is None else data
        return sn.score(network, CRITERIA[name], data, loss=loss_of(kind), **{"batch_size": 8, "seed": 3} | options)


@cache
def scores_of(name, kind):
    return score(network_of(kind).copy(), name, kind)


def state_of(network):
    """All that a network is, gradients apart, as bytes."""
    state = {name: array.tobytes() for name, array in network.buffers().items()}
    for name, parameter in {**network.parameters(), **network.weights()}.items():
        mask = None if parameter.mask is None else parameter.mask.tobytes()
        remembered = {key: array.tobytes() for key, array in parameter.state.items()}
        state[f"parameter {name}"] = parameter.value.tobytes(), mask, remembered
    return state


@every_criterion
@every_network
def test_scoring_touches_nothing_and_its_seed_settles_it(name, kind):
    network = network_of(kind).copy()
    network.apply_masks({layer: np.random.default_rng(1).random(m.shape) < 0.9 for layer, m in network.masks().items()})
    before = state_of(network)
    first = score(network, name, kind, max_batches=2)
    assert state_of(network) == before
    assert all(layer.saved is None for layer in network.layers().values())
    again = score(network.copy(), name, kind, max_batches=2)
    assert list(first) == list(again)
    assert all(first[layer].tobytes() == again[layer].tobytes() for layer in first)


@every_criterion
@every_network
def test_the_order_of_the_data_does_not_matter(name, kind):
    network, (x, y) = network_of(kind).astype(np.float64), data_of(kind, np.float64)
    order = np.random.default_rng(2).permutation(SAMPLES)
    one, other = (score(network, name, kind, data, batch_size=SAMPLES) for data in ((x, y), (x[order], y[order])))
    for layer, found in one.items():
        np.testing.assert_allclose(
            found, other[layer], rtol=1e-6, atol=1e-9 * np.abs(found).max(initial=1e-300), err_msg=layer
        )


def lowest(units, count):
    """Which of all units go, slowly: sorted by score, equal ones by index; the highest of each layer stays."""
    flat = [(float(score), layer, index) for layer, scores in units.items() for index, score in enumerate(scores)]
    stays = {layer: max((score, index) for score, of, index in flat if of == layer)[1] for layer in units}
    places = range(len(flat))
    ranked = sorted(places, key=lambda place: (flat[place][0], place))
    return {flat[place][1:] for place in [p for p in ranked if stays[flat[p][1]] != flat[p][2]][:count]}


def gone_units(masks, granularity):
    kept = {layer: sum_over_structures(mask, granularity) > 0 for layer, mask in masks.items()}
    return {(layer, int(index)) for layer, each in kept.items() for index in np.flatnonzero(~each)}


@every_criterion
@every_network
def test_the_lowest_go_exactly_as_many_as_asked_and_each_layer_keeps_one(name, kind):
    scores = scores_of(name, kind)
    for granularity in GRANULARITIES.values():
        units = {layer: sum_over_structures(array, granularity) for layer, array in scores.items()}
        for sparsity in (0.5, 0.97):
            expected = lowest(units, round(sparsity * sum(map(len, units.values()))))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*one and the same score")
                found = sn.make_masks(scores, sparsity, granularity=granularity)
                by_layer = sn.make_masks(scores, sparsity, granularity=granularity, scope="layer")
            assert gone_units(found, granularity) == expected
            each = [lowest({layer: array}, round(sparsity * len(array))) for layer, array in units.items()]
            assert gone_units(by_layer, granularity) == set().union(*each)


def pruned(name, kind, granularity, scope, sparsity=0.5):
    network = network_of(kind).copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(.*one and the same score|not pruned by .* in groups)")
        sn.prune(network, scores_of(name, kind), sn.Strategy(GRANULARITIES[granularity], SCOPES[scope]), sparsity)
    return network


def assert_same_outputs(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@every_criterion
@every_network
def test_a_pruned_network_computes_the_same_once_compacted(name, kind):
    x = data_of(kind)[0]
    for granularity in GRANULARITIES:
        for scope in SCOPES:
            network = pruned(name, kind, granularity, scope)
            assert all(mask.any() for mask in network.masks().values())
            assert network.sparsity() > 0.1
            output, compacted = network(x), sn.remove_pruned_structures(network)
            assert np.isfinite(output).all()
            assert_same_outputs(compacted(x), output)


@pytest.mark.parametrize(("number", "name"), list(enumerate(CRITERIA)))
def test_a_pruned_network_computes_the_same_once_compiled(number, name):
    """A cell of each criterion; the kinds of networks, granularities and scopes take turns."""
    kind = list(NETWORKS)[number % len(NETWORKS)]
    granularity, scope = list(GRANULARITIES)[number % len(GRANULARITIES)], list(SCOPES)[number // 4 % 2]
    network, x = pruned(name, kind, granularity, scope, 0.7), data_of(kind)[0][:4]
    plan = sn.compile(network, input_shape(kind), batch=4)
    assert_same_outputs(plan(x), network(x))
