"""One pass forward and backward, looked into: what each layer made, and the gradient of the loss with respect to it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..checks import check_count, check_data
from ..nn.layers import ReLU
from ..nn.network import Network
from ..nn.normalization import BatchNorm
from ..nn.training import Data, Loss, batches


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches that a score is taken of: (x, y) one after the other, as often as they are asked for."""

    x: np.ndarray
    y: np.ndarray
    picks: list[np.ndarray]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((self.x[pick], self.y[pick]) for pick in self.picks)

    @property
    def samples(self) -> int:
        """How many samples there are in all batches."""
        return sum(len(pick) for pick in self.picks)


def draw_batches(data: Data, batch_size: int, max_batches: int | None, rng: np.random.Generator) -> Batches:
    """Batches of (x, y) drawn without replacement, `max_batches` of them (None: all).

    Examples
    --------
    >>> data = np.arange(5.0).reshape(5, 1), np.arange(5)
    >>> [len(x) for x, _ in draw_batches(data, 2, None, np.random.default_rng(0))]
    [2, 2, 1]
    """
    x, y = check_data("data", data)
    picks = batches(rng.permutation(len(x)), check_count("batch_size", batch_size))
    return Batches(x, y, picks if max_batches is None else picks[: check_count("max_batches", max_batches)])


@dataclass(frozen=True, eq=False)
class Probe:
    """A batch's pass.

    Attributes
    ----------
    outputs : dict of arrays
        What each layer made, by name, and `"input"`.
    gradients : dict of arrays
        dL/d(output) of each layer, L the batch's mean loss. The parameters' gradients are set too.
    """

    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


def probe(network: Network, x: np.ndarray, y: np.ndarray, loss: Loss) -> Probe:
    """Run a batch forward and backward, as in evaluation: statistics stay, dropout does nothing.

    Examples
    --------
    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, 2.0]]))
    >>> seen = probe(network, np.ones((1, 2), np.float32), np.ones((1, 1), np.float32), mean_squared_error)
    >>> seen.outputs["fc"].tolist(), seen.gradients["fc"].tolist()  # dL/dy = 2 (y - t)
    ([[3.0]], [[4.0]])
    """
    outputs, gradients = network.outputs(x), {}
    network.backward(loss(outputs[network.nodes[-1].name], y)[1], to_input=False, record=gradients)
    return Probe(outputs, gradients)


def set_gradients(network: Network, x: np.ndarray, y: np.ndarray, loss: Loss) -> None:
    """The same pass where only the parameters' gradients are asked for: nothing else of it is held.

    Examples
    --------
    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, 2.0]]))
    >>> set_gradients(network, np.ones((1, 2), np.float32), np.ones((1, 1), np.float32), mean_squared_error)
    >>> network["fc"].weight.grad.tolist()  # 2 (y - t) x
    [[4.0, 4.0]]
    """
    network.backward(loss(network.forward(x), y)[1], to_input=False)


def activation_of(network: Network, name: str) -> str:
    """The layer whose output is the activation of layer `name`: a normalisation and a ReLU right behind it count in.

    Each has to be the only reader of what is before it; an addition ends the way.

    Examples
    --------
    >>> from sparsenet import Linear, ReLU, chain
    >>> network = chain({"fc": Linear(2, 2), "relu": ReLU(), "out": Linear(2, 1)})
    >>> activation_of(network, "fc"), activation_of(network, "out")
    ('relu', 'out')
    """
    for kind in (BatchNorm, ReLU):
        readers = network.consumers(name)
        if len(readers) == 1 and isinstance(readers[0].layer, kind):
            name = readers[0].name
    return name
