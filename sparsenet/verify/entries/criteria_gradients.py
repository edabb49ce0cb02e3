"""Entries of the criteria of gradients, and of what they are made of: quantities of a small network, by differences."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ...nn.hessian_product import hessian_product
from ...nn.layers import Linear, ReLU
from ...nn.losses import mean_squared_error, softmax_cross_entropy
from ...nn.network import Network, chain
from ...nn.normalization import WeightNorm
from ...nn.optimizers import SGD, Movement
from ...nn.parameter import Parameter
from ...nn.training import Loss
from ...pruning import foresight, gradient_quantities, scores
from ...pruning.flow import flow_gradient
from ...pruning.probe import Batches
from ..definitions import criteria_gradients as definitions
from ..definitions import optimizers as optimizer_definitions
from ..definitions.differences import central_difference
from ..entry import EXACT, SLOPE, Comparison, Entry
from .draws import some_mask
from .networks import SMALL_IMAGE, live_weights, small_images, small_network

STEPS = 4


def parts_of(x: np.ndarray, y: np.ndarray) -> Batches:
    """Two batches, of unlike sizes."""
    return Batches(x, y, [np.arange(2, len(x)), np.arange(2)])


def weights_and_loss(network: Network, x: np.ndarray, y: np.ndarray, loss: Loss = softmax_cross_entropy) -> tuple:
    """(the weights by layer, to be changed in place, the loss of all samples as they are now)."""
    copied = network.copy()
    weights, follow = live_weights(copied)

    def now() -> float:
        follow()
        return loss(copied.forward(x), y)[0]

    return weights, now


def weights_and_gradients(network: Network, x: np.ndarray, y: np.ndarray, loss: Loss = softmax_cross_entropy) -> tuple:
    """(the weights by layer, to be changed in place, the gradients of all of them as they are now)."""
    copied = network.copy()
    weights, follow = live_weights(copied)

    def now() -> list[np.ndarray]:
        follow()
        copied.backward(loss(copied.forward(x), y)[1], to_input=False)
        return [weight.grad for weight in copied.weights().values()]

    return weights, now


def _regression(rng: np.random.Generator) -> tuple:
    """(theta, g, H g, L, |g|^2), g and H by hand, of L = 1/N sum_n |theta x_n - y_n|^2."""
    theta, x, y = rng.standard_normal((3, 4)), rng.standard_normal((6, 4)), rng.standard_normal((6, 3))

    def gradient():
        return 2 / 6 * (theta @ x.T - y.T) @ x

    def loss():
        return float(sum(np.square(theta @ x[n] - y[n]).sum() for n in range(6))) / 6

    return theta, gradient(), 2 / 6 * gradient() @ x.T @ x, loss, lambda: float(np.square(gradient()).sum())


def _full_batch_sensitivity(function, oracle, rng) -> Iterator[Comparison]:
    theta, gradient, _, loss, _ = _regression(rng)
    yield "|dL/dtheta|", function(gradient), oracle(loss, theta)


def _snip(function, oracle, rng) -> Iterator[Comparison]:
    theta, gradient, _, loss, _ = _regression(rng)
    yield "|dL/dc|", function(theta, gradient), oracle(loss, theta)


def _grasp(function, oracle, rng) -> Iterator[Comparison]:
    theta, _, product, _, squared_norm = _regression(rng)
    yield "d(|g|^2)/dc / 2", function(theta, product), oracle(squared_norm, theta)


def _linear_layers(rng: np.random.Generator, *sizes: int, relu: bool = False) -> Network:
    layers = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers[f"fc{number}"] = Linear(inputs, outputs, seed=rng)
        layers[f"fc{number}"].bias.value[:] = rng.standard_normal(outputs)
        if relu:
            layers[f"relu{number}"] = ReLU()
    return chain(layers).astype(np.float64)


def _synflow(function, oracle, rng) -> Iterator[Comparison]:
    """Path by path; and conserved: the scores of every layer sum to the same."""
    for relu in (False, True):
        network = _linear_layers(rng, 3, 4, 2, 3, relu=relu)
        data = Batches(np.zeros((1, 3)), np.zeros(1, int), [np.arange(1)])
        gradients = flow_gradient(network, data, softmax_cross_entropy)
        weights = {name: weight.value for name, weight in network.weights().items()}
        found = [function(weights[name], gradients[name]) for name in weights]
        expected = oracle(list(weights.values()))
        yield "I", found, expected
        yield "sums of the layers", [float(each.sum()) for each in found], [float(expected[0].sum())] * len(found)


def _flow_gradient(function, oracle, rng) -> Iterator[Comparison]:
    """By differences of what flows through a network that was made positive by hand."""
    network = small_network(rng)
    positive = network.copy()
    for name, parameter in positive.parameters().items():
        parameter.value = np.abs(parameter.value) if not name.endswith(("bias", "beta")) else 0 * parameter.value
    for name, buffer in positive.buffers().items():
        buffer *= "mean" not in name
    x = np.ones((1, *SMALL_IMAGE))
    weights, flow = weights_and_loss(positive, x, x, lambda output, y: (float(output.sum()), output))
    found = function(network, parts_of(*small_images(rng)), softmax_cross_entropy)
    for name, weight in weights.items():
        yield name, found[name], oracle(flow, weight)


def _steps(rng: np.random.Generator) -> tuple:
    """(theta at the start, gradients, mask, theta before each step of a descent at 0.1)."""
    value, gradients, mask = (
        rng.standard_normal((3, 4)),
        list(rng.standard_normal((STEPS, 3, 4))),
        some_mask(rng, (3, 4)),
    )
    settings = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.1}
    walked = optimizer_definitions.sgd(value, gradients, **settings, mask=mask)
    return value, gradients, mask, [value * mask, *walked[:-1]]


def _recorded(optimizer: Movement, value: np.ndarray, gradients: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    parameter = Parameter(value * mask, mask=mask)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.update(parameter, optimizer.lr)
    return parameter.state["movement"]


def _movement_step(function, oracle, rng) -> Iterator[Comparison]:
    value, gradients, mask, weights = _steps(rng)
    optimizer = function(SGD(lr=0.1, momentum=0.9, weight_decay=0.1))
    yield "S", _recorded(optimizer, value, gradients, mask), oracle(weights, gradients)


def _movement(function, oracle, rng) -> Iterator[Comparison]:
    value, gradients, mask, weights = _steps(rng)
    recorded = _recorded(Movement(SGD(lr=0.1, momentum=0.9, weight_decay=0.1)), value, gradients, mask)
    yield "S", function(recorded), oracle(weights, gradients)


def _recorded_movement(function, oracle, rng) -> Iterator[Comparison]:
    """Of a weight normalisation each unit, and each weight where no step moves it."""
    for lr in (0.0, 0.1):
        network = chain({"plain": Linear(4, 3, seed=rng), "normed": WeightNorm(Linear(3, 2, seed=rng))})
        network, recorder = network.astype(np.float64), Movement(SGD())
        seen = {name: ([], []) for name in network.weights()}
        for _ in range(STEPS):
            x, y = rng.standard_normal((5, 4)), rng.standard_normal((5, 2))
            network.backward(mean_squared_error(network.forward(x, training=True), y)[1])
            for name, weight in network.weights().items():
                seen[name][0].append(np.array(weight.value))
                seen[name][1].append(weight.grad.copy())
            for parameter in network.parameters().values():
                recorder.update(parameter, lr)
        found = function(network)
        for name, (weights, gradients) in seen.items():
            values = found[name], oracle(weights, gradients)
            if name == "normed" and lr:
                values = tuple(value.sum(axis=1) for value in values)
            yield f"{name}, learning rate {lr}", *values


def _mean_gradient(function, oracle, rng) -> Iterator[Comparison]:
    network, (x, y) = small_network(rng), small_images(rng)
    found = function(network, parts_of(x, y), softmax_cross_entropy)
    weights, loss = weights_and_loss(network, x, y)
    for name, weight in weights.items():
        yield name, found[name], oracle(loss, weight)


def _hessian_product(function, oracle, rng) -> Iterator[Comparison]:
    for loss in (softmax_cross_entropy, mean_squared_error):
        network, (x, y) = small_network(rng), small_images(rng)
        y = y if loss is softmax_cross_entropy else rng.standard_normal((len(x), 3))
        direction = {name: rng.standard_normal(weight.shape) for name, weight in network.weights().items()}
        found = function(network, x, y, loss, direction)
        weights, gradients = weights_and_gradients(network, x, y, loss)
        expected = oracle(gradients, list(weights.values()), list(direction.values()), 1e-6)
        yield loss.__name__, list(found.values()), expected


def _hessian_gradient(function, oracle, rng) -> Iterator[Comparison]:
    """Of batches, of a network that is pruned in part: what is pruned does not move."""
    network, (x, y) = small_network(rng), small_images(rng)
    network.apply_masks({"fc": some_mask(rng, (3, 3))})
    found = function(network, parts_of(x, y), softmax_cross_entropy)
    dense = network.copy()
    dense["fc"].weight.mask = None
    weights, gradients = weights_and_gradients(dense, x, y)
    direction = [np.where(mask, g, 0) for mask, g in zip(network.masks().values(), gradients(), strict=True)]
    yield "H g", list(found.values()), oracle(gradients, list(weights.values()), direction, 1e-6)


def _rounds(function, oracle, rng) -> Iterator[Comparison]:
    """One way and with revival, SNIP's scores by differences."""
    schedule = (0.2, 0.4, 0.6)
    for revive in (False, True):
        network = _linear_layers(rng, 4, 5, 3)
        for layer in network.weighted().values():
            layer.bias.value[:] = 0  # the loops know nothing of a bias that goes with its neuron
        x, y = rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
        start = {name: np.array(weight.value) for name, weight in network.weights().items()}
        expected = oracle(_snip_scores(network.copy(), start, x, y), 35, schedule, revive=revive)
        made = function(network, scores.snip, (x, y), schedule=schedule, revive=revive)
        what = "revive" if revive else "one way"
        yield f"{what}: masks", np.concatenate([mask.ravel() for mask in made.values()]), expected
        kept = np.concatenate([start[name].ravel() for name in start]) * expected
        yield f"{what}: weights", np.concatenate([w.value.ravel() for w in network.weights().values()]), kept


def _snip_scores(network: Network, start: dict, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the mask so far: |theta g|, theta as at the start, g of the network under the mask."""
    weights, loss = weights_and_loss(network, x, y)
    cuts = np.cumsum([weight.size for weight in weights.values()])[:-1]

    def scored(mask: np.ndarray) -> np.ndarray:
        for (name, weight), part in zip(weights.items(), np.split(mask, cuts), strict=True):
            weight[...] = start[name] * part.reshape(weight.shape)
        slopes = {name: central_difference(loss, weight) for name, weight in weights.items()}
        return np.concatenate([np.abs(start[name] * slopes[name]).ravel() for name in weights])

    return scored


def _criterion(name: str, compare: Callable, source: str, *tolerance) -> Entry:
    function, oracle = getattr(scores, name), getattr(definitions, name)
    return Entry(f"scores.{name}", "criterion", function, oracle, compare, source, *tolerance)


ENTRIES = (
    _criterion("full_batch_sensitivity", _full_batch_sensitivity, "definition", SLOPE),
    _criterion("snip", _snip, "Lee et al. 2019, eq. 4", SLOPE),
    _criterion("grasp", _grasp, "Wang et al. 2020, eq. 8", SLOPE),
    _criterion("synflow", _synflow, "Tanaka et al. 2020, section 6 and theorem 1"),
    _criterion("movement", _movement, "Sanh et al. 2020, section 4"),
    Entry(
        "Movement.update",
        "optimizer",
        Movement,
        definitions.movement,
        _movement_step,
        "Sanh et al. 2020, section 4",
        at=Movement.update,
        formula="S <- S - theta dL/dtheta before each step, which is that of the optimizer inside",
    ),
    Entry(
        "gradient_quantities.recorded_movement",
        "quantity",
        gradient_quantities.recorded_movement,
        definitions.movement,
        _recorded_movement,
        "Sanh et al. 2020, section 4",
    ),
    Entry(
        "gradient_quantities.mean_gradient",
        "quantity",
        gradient_quantities.mean_gradient,
        central_difference,
        _mean_gradient,
        "calculus",
        SLOPE,
    ),
    Entry(
        "gradient_quantities.hessian_gradient",
        "quantity",
        gradient_quantities.hessian_gradient,
        definitions.hessian_product,
        _hessian_gradient,
        "Wang et al. 2020, eq. 8",
        SLOPE,
    ),
    Entry(
        "hessian_product.hessian_product",
        "quantity",
        hessian_product,
        definitions.hessian_product,
        _hessian_product,
        "Pearlmutter 1994",
        SLOPE,
    ),
    Entry(
        "flow.flow_gradient",
        "quantity",
        flow_gradient,
        central_difference,
        _flow_gradient,
        "Tanaka et al. 2020, section 6",
        SLOPE,
    ),
    Entry(
        "foresight.prune_at_initialization",
        "mask",
        foresight.prune_at_initialization,
        definitions.prune_in_rounds,
        _rounds,
        "Tanaka et al. 2020, algorithm 1; de Jorge et al. 2021",
        EXACT,
    ),
)
