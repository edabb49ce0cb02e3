"""Training and evaluation: fit, predict, evaluate."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..checks import check_count, check_data, check_output_gradient, check_plain, check_positive
from ..machine.threads import threads as use_threads
from .augment import Augmentation
from .layers import Dropout
from .losses import accuracy, softmax_cross_entropy
from .network import Network
from .optimizers import SGD, Optimizer, Schedule, check_optimizer, constant

Model = Callable[[np.ndarray], np.ndarray]
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
Metric = Callable[[np.ndarray, np.ndarray], float]
Data = tuple[np.ndarray, np.ndarray]

PROBED = 8  # samples of a trial forward
AT_ONCE = 1024  # outputs for one call of the loss in a check


@dataclass(frozen=True)
class Epoch:
    """What one epoch of `fit` gave. Training figures are of the outputs as they were while it ran."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


class Evaluation(NamedTuple):
    """Accuracy (or the metric given instead) and mean loss over a data set."""

    accuracy: float
    loss: float


def batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut `order` into consecutive pieces of `batch_size`; the last one may be shorter."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def train_step(
    network: Network, x: np.ndarray, y: np.ndarray, optimizer: Optimizer, lr: float, loss: Loss
) -> tuple[float, np.ndarray]:
    """One step on one batch: forward, loss, backward, masked update of every parameter. Returns (loss, output)."""
    output = network.forward(x, training=True)
    value, gradient = loss(output, y)
    network.backward(gradient, to_input=False)
    for parameter in network.parameters().values():
        optimizer.update(parameter, lr)
    return value, output


def _check_training(network: Network, optimizer: Optimizer, on_epoch: Callable | None) -> None:
    """Refuse what could not make a step."""
    check_optimizer(optimizer)
    check_positive("optimizer.lr", optimizer.lr, zero=True)
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(f"on_epoch must be a function, not {on_epoch!r}")
    if not network.parameters():
        raise ValueError("the network has no parameters to train")
    spoiled = _not_finite(network)
    if spoiled:
        raise ValueError(f"the network's {spoiled!r} holds NaN or infinity: it cannot be trained any more")


def _not_finite(network: Network) -> str:
    """The first parameter or buffer that holds NaN or infinity; empty where none does."""
    arrays = {name: parameter.value for name, parameter in network.parameters().items()} | network.buffers()
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), "")


def _check_schedule(lr_schedule: Schedule, steps: int) -> None:
    """Refuse a schedule that gives some step no factor, or a negative one."""
    if not callable(lr_schedule):
        raise TypeError(f"lr_schedule must be a function of the progress in [0, 1], not {lr_schedule!r}")
    for step in range(steps):
        named = f"lr_schedule({step / steps:g})"
        try:
            factor = lr_schedule(step / steps)
        except (TypeError, ValueError) as error:
            error.add_note(f"raised by {named}, before the first step of training")
            raise
        check_positive(named, factor, zero=True)


def _check_samples(name: str, data: Data, network: Network, loss: Loss, metric: Metric) -> Data:
    """Return (x, y) when network, loss and metric take them, found out with a forward of the first samples only.

    Their outputs, repeated, stand for those of all samples: a loss or metric then meets every y, and no x needs a pass.
    """
    x, y = check_data(name, data)
    if not all(np.isfinite(array).all() for array in (x, y) if array.dtype.kind in "fc"):
        raise ValueError(f"{name} holds NaN or infinity: nothing can be learnt from it")
    try:
        first = network.forward(network.check_input(x)[:PROBED])
        outputs = first[np.arange(len(y)) % len(first)]
        with np.errstate(all="ignore"):
            for part in batches(np.arange(len(y)), AT_ONCE):
                check_output_gradient(loss(outputs[part], y[part])[1], outputs[part].shape, outputs.dtype)
            metric(outputs, y)
    except (TypeError, ValueError) as error:
        error.add_note(f"found in {name} before the first step of training")
        raise
    finally:
        network.forget()
    return x, y


def _check_augmentation(augment: Augmentation, x: np.ndarray) -> None:
    """Refuse a function that gives back other than a finite batch of the same shape and type, tried on a few samples.

    They are copies, and the generator is one of its own: the trial leaves no trace in the training.
    """
    if not callable(augment):
        raise TypeError(f"augment must be a function (x, rng) -> x, as those of sn.augment, not {augment!r}")
    given = x[:PROBED].copy()
    shape, dtype = given.shape, given.dtype
    made = check_plain("augment(x, rng)", augment(given, np.random.default_rng(0)))
    if not isinstance(made, np.ndarray) or made.shape != shape or made.dtype != dtype:
        what = f"{made.dtype} of shape {made.shape}" if isinstance(made, np.ndarray) else repr(made)
        raise ValueError(f"augment(x, rng) must return a batch like x, {dtype} of shape {shape}, not {what}")
    if not np.isfinite(made).all():
        raise ValueError("augment(x, rng) must return finite numbers, and gave NaN or infinity")


def _check_last_batch(network: Network, shape: tuple[int, ...], batch_size: int) -> None:
    """Refuse a last batch, the smallest one, that a layer cannot be trained on."""
    samples = (shape[0] - 1) % batch_size + 1
    shapes = {name: (samples, *rest) for name, rest in network.shapes(shape[1:]).items()}
    for node in network.nodes:
        try:
            node.layer.check_batch(*(shapes[source] for source in node.inputs))
        except ValueError as error:
            raise ValueError(
                f"layer {node.name!r}: {error}; the last batch has {samples} of {shape[0]} samples: "
                f"change batch_size, {batch_size}"
            ) from None


def _offspring(rng: np.random.Generator) -> np.random.Generator:
    """A generator whose numbers are settled by those of `rng`, and which then goes its own way."""
    return np.random.default_rng(rng.integers(2**63))


def fit(
    network: Network,
    data: Data,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    lr_schedule: Schedule = constant,
    batch_size: int = 64,
    loss: Loss = softmax_cross_entropy,
    metric: Metric = accuracy,
    validation: Data | None = None,
    augment: Augmentation | None = None,
    seed: int | np.random.Generator = 0,
    on_epoch: Callable[[Epoch], None] | None = None,
    threads: int | None = None,
) -> list[Epoch]:
    """Train the network in place.

    Parameters
    ----------
    data, validation : (x, y)
        `validation` is evaluated after each epoch, when given.
    epochs : int
        Passes over the data; 0 trains nothing.
    optimizer : SGD, Adam or alike
        SGD(0.05, momentum=0.9) unless given. Its state lives in the network: a further `fit` goes on with it.
    lr_schedule : function progress in [0, 1] -> factor on the learning rate
    augment : function (x, rng) -> x, optional
        Makes of each training batch the one that is trained on, of the same shape and type: those of `sn.augment`, or
        one of your own. Its generator is made from the seed. What is evaluated stays as it is.
    seed : int or Generator
        Settles the order of the samples, every dropout mask and the augmentation.
    on_epoch : function
        Called with each `Epoch` as it ends.
    threads : int, optional
        Threads of the kernels (None: all available ones). The bits of the result do not depend on it.

    Returns
    -------
    list of Epoch

    Notes
    -----
    What can be known before the first step is checked before it, and the network is untouched when a check fails: the
    network's and the samples' numbers, whether loss and metric take what the network makes of the first samples
    together with every y, what augmentation makes of these samples, and the learning rate of every step. Loss, metric,
    augmentation and lr_schedule are called for that.
    """
    check_count("epochs", epochs, at_least=0)
    check_count("batch_size", batch_size)
    optimizer = optimizer or SGD(lr=0.05, momentum=0.9)
    with use_threads(threads):
        _check_training(network, optimizer, on_epoch)
        x, y = _check_samples("data", data, network, loss, metric)
        steps = epochs * -(-len(x) // batch_size)
        _check_schedule(lr_schedule, steps)
        if validation is not None:
            _check_samples("validation", validation, network, loss, metric)
        if augment is not None:
            _check_augmentation(augment, x)
        _check_last_batch(network, x.shape, batch_size)
    rng = np.random.default_rng(seed)
    for layer in network.layers().values():
        if isinstance(layer, Dropout):
            layer.rng = _offspring(rng)
    augment_rng = _offspring(rng) if augment is not None else None
    step, history = 0, []
    with use_threads(threads):
        for epoch in range(1, epochs + 1):
            start, total, outputs, lr = time.perf_counter(), 0.0, [], 0.0
            order = rng.permutation(len(x))
            for batch in batches(order, batch_size):
                lr = optimizer.lr * lr_schedule(step / steps)
                samples = x[batch] if augment is None else augment(x[batch], augment_rng)
                value, output = train_step(network, samples, y[batch], optimizer, lr, loss)
                total += value * len(batch) / len(x)
                outputs.append(output)
                step += 1
            if not np.isfinite(total) or _not_finite(network):
                raise FloatingPointError(f"training diverged in epoch {epoch} (loss {total}): lower the learning rate")
            score = metric(np.concatenate(outputs), y[order])
            seconds = time.perf_counter() - start
            checked = evaluate(network, validation, loss=loss, metric=metric) if validation is not None else None
            accuracy_, loss_ = checked or (None, None)
            history.append(Epoch(epoch, total, score, loss_, accuracy_, lr, seconds))
            if on_epoch:
                on_epoch(history[-1])
    return history


def predict(model: Model, x: np.ndarray, *, batch_size: int = 256, threads: int | None = None) -> np.ndarray:
    """Outputs of a network (or a compiled plan) for x, batch by batch."""
    check_count("batch_size", batch_size)
    with use_threads(threads):
        pieces = [np.array(model(x[start : start + batch_size])) for start in range(0, len(x), batch_size)]
    if isinstance(model, Network):
        model.forget()
    return np.concatenate(pieces) if pieces else model(x)


def evaluate(
    model: Model,
    data: Data,
    *,
    loss: Loss = softmax_cross_entropy,
    metric: Metric = accuracy,
    batch_size: int = 256,
    threads: int | None = None,
) -> Evaluation:
    """Accuracy and loss of a network (or a compiled plan) on (x, y), outside training."""
    x, y = check_data("data", data)
    output = predict(model, x, batch_size=batch_size, threads=threads)
    return Evaluation(metric(output, y), loss(output, y)[0])
