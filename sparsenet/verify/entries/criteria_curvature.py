"""Entries of the criteria of the curvature, of what they are made of, and of ExactOBS.

OBD and OBS are exact on a quadratic: there they are held against the change of the loss itself.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...kernels.exact_obs import removal_order
from ...nn.layers import Conv2d
from ...nn.losses import mean_squared_error, softmax_cross_entropy
from ...nn.network import Network
from ...pruning import exact_obs, hessians, reconstruction, scores
from ..definitions import criteria_curvature as definitions
from ..definitions import graphs
from ..definitions.criteria_article import deletion_change
from ..definitions.differences import central_difference
from ..entry import EXACT, ROUNDING, SLOPE, Comparison, Entry, Tolerance, same
from .criteria_gradients import parts_of, weights_and_gradients, weights_and_loss
from .draws import some_mask
from .layers import GEOMETRIES
from .networks import small_images, small_network

INVERSE = Tolerance(1e-7, "float64, a system of equations solved in another way")
DAMPING = 0.01


def _problem(rng: np.random.Generator, outputs: int = 4, inputs: int = 6) -> tuple:
    """(W, X, H = 2 X X^T): inputs that depend on each other."""
    mix = rng.standard_normal((inputs, inputs)) * rng.uniform(0.3, 2, inputs)
    x = mix @ rng.standard_normal((inputs, 3 * inputs))
    return rng.standard_normal((outputs, inputs)), x, 2 * x @ x.T


def _fisher(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal(shape), rng.random(shape)) for shape in ((3, 4), (2, 3, 2, 2))]


def _obd(function, oracle, rng) -> Iterator[Comparison]:
    """The change of L = 1/N sum_n |theta x_n - y_n|^2 at its minimum, whose curvature is 2/N sum_n x_n^2."""
    x, y = rng.standard_normal((20, 4)), rng.standard_normal((20, 2))
    theta = np.linalg.lstsq(x, y, rcond=None)[0].T
    curvature = np.tile(2 / 20 * np.square(x).sum(axis=0), (2, 1))

    def loss():
        return float(sum(np.square(theta @ x[n] - y[n]).sum() for n in range(20))) / 20

    yield "L without theta - L, L quadratic", function(theta, curvature), oracle(loss, theta)


def _obs(function, oracle, rng) -> Iterator[Comparison]:
    for shape, groups in (((4, 6), 1), ((4, 3, 2, 1), 2)):
        parts = [_problem(rng) for _ in range(groups)]
        weight, hessian = parts[0][0].reshape(shape), np.stack([h for *_, h in parts])
        for what, mask in (("dense", np.ones(shape, bool)), ("masked", some_mask(rng, shape, 0.7))):
            found = function(weight * mask, hessian, mask, 0.0)
            yield f"{shape} {what}", found, oracle(weight * mask, hessian, mask)
        damped = np.stack([definitions.damped(each, DAMPING) for each in hessian])
        yield f"{shape} by default", function(weight, hessian, mask), oracle(weight, damped, mask)
    weight, x, hessian = _problem(rng)
    found = function(weight, hessian[None], np.ones(weight.shape, bool), 0.0)
    yield "||W X - W' X||^2, W' fitted anew", found, _refitted_errors(weight, x)


def _refitted_errors(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What is left of each output without one of its inputs, the others fitted by least squares."""
    errors = np.empty(weight.shape)
    for o, p in np.ndindex(weight.shape):
        others, target = np.delete(x, p, axis=0).T, weight[o] @ x
        fitted = np.linalg.lstsq(others, target, rcond=None)[0]
        errors[o, p] = np.square(target - others @ fitted).sum()
    return errors


def _woodfisher(function, oracle, rng) -> Iterator[Comparison]:
    for shape, block in (((3, 7), 1), ((3, 7), 5), ((2, 3, 2, 2), 1000)):
        weight, gradients = rng.standard_normal(shape), rng.standard_normal((9, *shape))
        mask = some_mask(rng, shape, 0.7)
        found = function(weight * mask, gradients, mask, block, 1e-3)
        yield f"{shape} in blocks of {block}", found, oracle(weight * mask, gradients, mask, block, 1e-3)
    weight, gradients, mask = rng.standard_normal((1, 60)), rng.standard_normal((70, 1, 60)), np.ones((1, 60), bool)
    yield "by default", function(weight, gradients, mask), oracle(weight, gradients, mask, 50, 1e-5)


def _convolutions(rng: np.random.Generator) -> Iterator[tuple[str, Conv2d, np.ndarray]]:
    for what, arguments in GEOMETRIES.items():
        yield what, Conv2d(*arguments, seed=rng), rng.standard_normal((2, arguments[0], 5, 6))


def _unroll(function, oracle, rng) -> Iterator[Comparison]:
    for what, layer, x in _convolutions(rng):
        yield what, function(layer, x), oracle(x, layer.kernel_size, *layer.geometry)


def _input_hessians(network: Network, x: np.ndarray, oracle: Callable) -> dict[str, np.ndarray]:
    """2 X X^T of each layer with weights, of what the plain definitions of the layers before it make."""
    outputs, found = graphs.outputs(network, x), {}
    for node in network.nodes:
        if node.name in network.weights():
            layer, read = getattr(node.layer, "layer", node.layer), outputs[node.inputs[0]]
            window = (layer.kernel_size, *layer.geometry) if read.ndim == 4 else ((1, 1), (1, 1), (0, 0), (1, 1), 1)
            found[node.name] = oracle(read.reshape(*read.shape, 1, 1)[:, :, :, :1] if read.ndim == 2 else read, *window)
    return found


def _input_hessian(function, oracle, rng) -> Iterator[Comparison]:
    network, (x, y) = small_network(rng), small_images(rng)
    yield "H", function(network, parts_of(x, y)), _input_hessians(network, x, oracle)


def _sample_gradients(function, oracle, rng) -> Iterator[Comparison]:
    network, (x, y) = small_network(rng), small_images(rng, 4)
    found = function(network, parts_of(x, y), softmax_cross_entropy)
    for place, n in enumerate((2, 3, 0, 1)):  # the batches' order
        weights, loss = weights_and_loss(network, x[n : n + 1], y[n : n + 1])
        own = {name: array[place] for name, array in found.items()}
        yield f"sample {n}", own, {name: oracle(loss, weight) for name, weight in weights.items()}


def _fisher_diagonal(function, oracle, rng) -> Iterator[Comparison]:
    """By a backward pass for each sample."""
    for loss in (softmax_cross_entropy, mean_squared_error):
        network, (x, y) = small_network(rng), small_images(rng)
        y = y if loss is softmax_cross_entropy else rng.standard_normal((len(x), 3))
        alone = [weights_and_gradients(network, x[n : n + 1], y[n : n + 1], loss)[1]() for n in range(len(x))]
        found = function(network, parts_of(x, y), loss)
        yield loss.__name__, list(found.values()), [oracle(list(each)) for each in zip(*alone, strict=True)]


def _hessian_diagonal(function, oracle, rng) -> Iterator[Comparison]:
    for loss in (softmax_cross_entropy, mean_squared_error):
        network, (x, y) = small_network(rng), small_images(rng)
        y = y if loss is softmax_cross_entropy else rng.standard_normal((len(x), 3))
        found = function(network, parts_of(x, y), loss)
        weights, gradients = weights_and_gradients(network, x, y, loss)
        for place, (name, weight) in enumerate(weights.items()):
            expected = oracle(lambda place=place, gradients=gradients: gradients()[place], weight, 1e-6)
            yield f"{loss.__name__}, {name}", found[name], expected


def _removal_order(function, oracle, rng) -> Iterator[Comparison]:
    for block in (1, 2, 4):
        weight, _, hessian = _problem(rng)
        kept = some_mask(rng, weight.shape, 0.8)
        orders, costs = function(weight * kept, kept, np.linalg.inv(hessian), block=block)
        for o, (row, own) in enumerate(zip(weight * kept, kept, strict=True)):
            order, expected = oracle(row, hessian, own, block)
            gone = orders.shape[1] - len(order)  # those come first
            yield f"row {o} in blocks of {block}: order", orders[o, gone:].tolist(), order
            yield f"row {o} in blocks of {block}: costs", costs[o, gone:], np.array(expected)


def _share_out(rng: np.random.Generator) -> Iterator[tuple]:
    for count in (4, 7, 11):
        yield rng.random((4, 5)), np.array([0, 2, 1, 0]), count


def _exact_obs(function, oracle, rng) -> Iterator[Comparison]:
    """By sparsity, in blocks, with weights that are gone before, of two groups, with the default damping."""
    for block, sparsity in ((1, 0.3), (1, 0.8), (2, 0.5), (4, 0.5)):
        weight, _, hessian = _problem(rng)
        everything, blocks = np.ones(weight.shape, bool), 4 * -(-6 // block)
        found = function(weight, hessian, sparsity, block=block, damping=0)
        expected = oracle(weight, hessian, round(sparsity * blocks), everything, block)
        yield f"{sparsity:.0%} in blocks of {block}", found, expected
    kept = some_mask(rng, weight.shape, 0.8)
    found = function(weight, hessian, 0.75, mask=kept)
    count = round(0.75 * kept.size) - int((~kept).sum())
    yield "masked", found, oracle(weight * kept, definitions.damped(hessian, DAMPING), count, kept)


def _exact_obs_nm(function, oracle, rng) -> Iterator[Comparison]:
    for keep, of in ((2, 4), (1, 2), (3, 4)):
        weight, _, hessian = _problem(rng, 3, 8)
        kept = some_mask(rng, weight.shape, 0.9)
        found = function(weight, hessian, keep, of, mask=kept)
        yield f"{keep}:{of}", found, oracle(weight * kept, definitions.damped(hessian, DAMPING), keep, of, kept)


def _refit(function, oracle, rng) -> Iterator[Comparison]:
    weight, _, hessian = _problem(rng)
    mask = some_mask(rng, weight.shape)
    yield "W'", function(weight, hessian, mask, damping=0), oracle(weight, hessian, mask)
    yield "by default", function(weight, hessian, mask), oracle(weight, definitions.damped(hessian, DAMPING), mask)


def _layers(network: Network, x: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, rows, damped H) of each group of each layer of a network."""
    for name, hessian in _input_hessians(network, x, definitions.input_hessian).items():
        rows = np.array(network[name].weight.value).reshape(len(hessian), -1, hessian.shape[1])
        for g, own in enumerate(hessian):
            yield f"{name}, group {g}" if len(hessian) > 1 else name, rows[g], definitions.damped(own, DAMPING)


def _rows(network: Network, masks: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(weights, masks) of each group of each layer, as `_layers` names them."""
    found = {}
    for node in network.nodes:
        if node.name in masks:
            groups = getattr(getattr(node.layer, "layer", node.layer), "groups", 1)
            parts = (np.array(node.layer.weight.value), masks[node.name])
            for g, pair in enumerate(zip(*(p.reshape(groups, len(p) // groups, -1) for p in parts), strict=True)):
                found[f"{node.name}, group {g}" if groups > 1 else node.name] = pair
    return found


def _reconstruct(function, oracle, rng) -> Iterator[Comparison]:
    network, (x, y) = small_network(rng), small_images(rng, 9)
    masks = {name: some_mask(rng, weight.shape, 0.7) for name, weight in network.weights().items()}
    own, before = _rows(network, masks), list(_layers(network, x))
    found = _rows(network, function(network, (x, y), masks))
    for name, rows, hessian in before:
        yield name, found[name], (oracle(rows, hessian, own[name][1]), own[name][1])


def _without_dead_inputs(rng: np.random.Generator) -> tuple[Network, np.ndarray, np.ndarray]:
    """A network and images (x, y) for which every layer reads something: dead inputs go first, at no cost."""
    while True:
        network, (x, y) = small_network(rng), small_images(rng, 9)
        hessians = _input_hessians(network, x, definitions.input_hessian).values()
        if all(np.diagonal(own).all() for hessian in hessians for own in hessian):
            return network, x, y


def _obc_prune(function, oracle, rng) -> Iterator[Comparison]:
    """Half of each layer; layers of groups are left out, for their rows have no common H."""
    network, x, y = _without_dead_inputs(rng)
    before = {name: (rows, hessian) for name, rows, hessian in _layers(network, x) if "group" not in name}
    found = _rows(network, function(network, (x, y), 0.5, exclude=["depthwise"]))
    for name, (rows, hessian) in before.items():
        yield name, found[name], oracle(rows, hessian, round(0.5 * rows.size), np.ones(rows.shape, bool))


def _obc_prune_nm(function, oracle, rng) -> Iterator[Comparison]:
    network, x, y = _without_dead_inputs(rng)
    before = {name: (rows, hessian) for name, rows, hessian in _layers(network, x)}
    found = _rows(network, function(network, (x, y), 1, 3, exclude=["depthwise"]))
    for name in found:
        rows, hessian = before[name]
        yield name, found[name], oracle(rows, hessian, 1, 3, np.ones(rows.shape, bool))


OBC = "Frantar & Alistarh 2022"
OBS = "Hassibi & Stork 1993, eq. 5"
FITTED = "the masks, and the weights w' of each row: min (w - w') H (w - w')^T with w' = 0 where the mask is"


def _of(module, kind: str, name: str, oracle: Callable, compare: Callable, source: str, tolerance=INVERSE, **options):
    place = f"{module.__name__.rsplit('.', 1)[1]}.{name}"
    return Entry(place, kind, getattr(module, name), oracle, compare, source, tolerance, **options)


_criterion = partial(_of, scores, "criterion")
_quantity = partial(_of, hessians, "quantity")
_pruned = partial(_of, exact_obs, "mask")
_rebuilt = partial(_of, reconstruction, "mask", formula=FITTED)

ENTRIES = (
    _criterion("fisher", definitions.half_curvature, same(_fisher), "Theis et al. 2018", ROUNDING),
    _criterion("obd", deletion_change, _obd, "LeCun et al. 1990"),
    _criterion("obs", definitions.obs, _obs, OBS),
    _criterion("woodfisher", definitions.woodfisher, _woodfisher, "Singh & Alistarh 2020"),
    _quantity("unroll", definitions.unrolled, _unroll, "definition", EXACT),
    _quantity("input_hessian", definitions.input_hessian, _input_hessian, f"{OBC}, section 3", ROUNDING),
    _quantity("sample_gradients", central_difference, _sample_gradients, "calculus", SLOPE),
    _quantity("fisher_diagonal", definitions.mean_square, _fisher_diagonal, "Theis et al. 2018", ROUNDING),
    _quantity("hessian_diagonal", definitions.second_differences, _hessian_diagonal, "calculus", SLOPE),
    _pruned("exact_obs", definitions.exact_obs, _exact_obs, f"{OBC}, algorithms 1 and 2"),
    _pruned("exact_obs_nm", definitions.exact_obs_nm, _exact_obs_nm, f"{OBC}, section 4"),
    _pruned("refit", definitions.refit, _refit, f"{OBC}, eq. 1"),
    _pruned("share_out", definitions.taken_in_turn, same(_share_out), f"{OBC}, algorithm 2", EXACT),
    Entry(
        "exact_obs.removal_order",
        "mask",
        removal_order,
        definitions.greedy_order,
        _removal_order,
        f"{OBC}, algorithm 1",
        INVERSE,
    ),
    _rebuilt("reconstruct", definitions.refit, _reconstruct, f"{OBC}, eq. 1"),
    _rebuilt("obc_prune", definitions.exact_obs, _obc_prune, f"{OBC}, algorithms 1 and 2"),
    _rebuilt("obc_prune_nm", definitions.exact_obs_nm, _obc_prune_nm, f"{OBC}, section 4"),
)
