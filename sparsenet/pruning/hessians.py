"""Curvature of the loss in each weight, and of each layer's output: quantities of all batches together.

All of them come from two arrays per layer: X, the inputs under each position of the kernel (`unroll`), and D, dl_n/dy
of *each sample* n by itself. One pass gives D for a whole batch, for no layer mixes samples outside training:

    dl_n/dw[o, p] = sum_q D[n, o, q] X[n, p, q],   p = (c, i, j) an input of the window, q an output position

The passes are made in the network's own floating type, the sums over samples in float64, a batch at a time. With weight
normalisation the weight is the product w. What a layer's mask has pruned has these derivatives too.
"""

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..nn.channels import unwrapped
from ..nn.layers import Weighted
from ..nn.losses import log_softmax, mean_squared_error, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Loss
from .granularity import Arrays
from .probe import Batches

CHUNK = 1 << 22  # numbers of an intermediate array that are made at once: 32 MB in float64
SAMPLE_GRADIENT_BYTES = 4 << 30  # the most that the gradients of all samples may take


def unroll(layer: Weighted, x: np.ndarray) -> np.ndarray:
    """The inputs that each weight of a layer meets: X (N, G, P, Q), P = C/G kh kw inputs at each of Q positions.

    Notes
    -----
    X[n, g, (c, i, j), (r, q)] = x[n, g C/G + c, r s + i d - p, q s + j d - p], zero outside the image. The layer's
    output is y[n, o] = W[o] X[n, g] + b[o], g the group of o. A linear layer has one group and one position.

    Examples
    --------
    >>> from sparsenet import Conv2d
    >>> image = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    >>> unroll(Conv2d(1, 1, 2), image)[0, 0].tolist()  # a row per weight of the 2 x 2 kernel, a column per position
    [[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]
    """
    layer = unwrapped(layer)
    if x.ndim == 2:
        return x[:, None, :, None]
    (stride_h, stride_w), padding, dilation, groups = layer.geometry
    padded = np.pad(x, ((0, 0), (0, 0), *((pad, pad) for pad in padding)))
    window = tuple((k - 1) * d + 1 for k, d in zip(layer.kernel_size, dilation, strict=True))
    windows = sliding_window_view(padded, window, axis=(2, 3))  # (N, C, r, q, i, j), strides and dilation still 1
    windows = windows[:, :, ::stride_h, ::stride_w, :: dilation[0], :: dilation[1]]
    _, channels, out_h, out_w, kernel_h, kernel_w = windows.shape
    inputs = channels // groups * kernel_h * kernel_w
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), groups, inputs, out_h * out_w)


def fisher_diagonal(network: Network, parts: Batches, loss: Loss) -> Arrays:
    """Diagonal of the empirical Fisher information: the mean over all samples of the squared gradient of *each*.

    Notes
    -----
    F[i] = 1/N sum_n (dl_n/dtheta_i)^2, l_n the loss of sample n by itself, with its own label (empirical; the Fisher
    information draws the label from the model instead).

    Examples
    --------
    y = w x, loss (y - t)^2, samples (x, t) = (1, 0) and (1, 4), w = 1: gradients 2 and -6, whose squares' mean is 20.
    The square of the mean gradient, which is called Fisher elsewhere, is 4.

    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(1, 1)})
    >>> network["fc"].set_weight(np.array([[1.0]]))
    >>> parts = Batches(np.ones((2, 1), np.float32), np.array([[0.0], [4.0]]), [np.arange(2)])
    >>> fisher_diagonal(network, parts, mean_squared_error)["fc"].tolist()
    [[20.0]]
    """
    totals = {name: np.zeros(weight.shape) for name, weight in network.weights().items()}
    for x, y in parts:
        outputs = network.outputs(x)
        gradients = _backward(network, _loss_gradients(network, outputs, y, loss))
        _add_squares(network, outputs, gradients, totals)
    return {name: total / parts.samples for name, total in totals.items()}


def hessian_diagonal(network: Network, parts: Batches, loss: Loss) -> Arrays:
    """Exact diagonal of the Hessian of the mean loss, in evaluation mode: d^2 L / dtheta_i^2.

    Notes
    -----
    The output z depends on any one weight in a piecewise linear way, where all layers are piecewise linear in their
    input, as those of this package are: d^2 z / dtheta_i^2 = 0 away from the kinks. Then

    h[i] = 1/N sum_n z_n'^T H_n z_n',   z_n' = dz_n/dtheta_i,   H_n = d^2 l_n / dz_n^2

    is not an approximation (the Gauss-Newton diagonal) but exact. With H_n = sum_k s_nk s_nk^T it takes K passes
    backward, h[i] = 1/N sum_nk (s_nk . z_n')^2, and no second derivative; K is the number of outputs:

    cross-entropy         s_nk = sqrt(p_nk) (p_n - e_k), p the softmax
    mean squared error    s_nk = sqrt(2/K) e_k

    p_n - e_k is the gradient that label k would give, so that h[i] = 1/N sum_nk p_nk (dl(n, label k)/dtheta_i)^2 of the
    cross-entropy is the diagonal of the true Fisher information as well, its labels drawn from the model.

    Examples
    --------
    y = w x, loss (y - t)^2, x = 1 and 3: the second derivative is the mean of 2 x^2.

    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(1, 1)})
    >>> parts = Batches(np.array([[1.0], [3.0]], np.float32), np.array([[0.0], [4.0]]), [np.arange(2)])
    >>> hessian_diagonal(network, parts, mean_squared_error)["fc"].round(5).tolist()
    [[10.0]]
    """
    if loss not in CURVATURES:
        known = ", ".join(each.__name__ for each in CURVATURES)
        raise ValueError(f"loss must be one whose second derivative is known here ({known}), not {loss!r}")
    totals = {name: np.zeros(weight.shape) for name, weight in network.weights().items()}
    for x, _ in parts:
        outputs = network.outputs(x)
        for upstream in CURVATURES[loss](outputs[network.nodes[-1].name]):
            _add_squares(network, outputs, _backward(network, upstream), totals)
    return {name: total / parts.samples for name, total in totals.items()}


def sample_gradients(network: Network, parts: Batches, loss: Loss) -> Arrays:
    """The gradient of every sample by itself: (N, *weight.shape) per layer, in the network's floating type.

    Raises
    ------
    ValueError
        Where they take more than 4 GiB in all: N times the size of the weights.

    Examples
    --------
    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(1, 1)})
    >>> network["fc"].set_weight(np.array([[1.0]]))
    >>> parts = Batches(np.ones((2, 1), np.float32), np.array([[0.0], [4.0]]), [np.arange(2)])
    >>> sample_gradients(network, parts, mean_squared_error)["fc"].tolist()
    [[[2.0]], [[-6.0]]]
    """
    weights = network.weights()
    size = parts.samples * sum(weight.value.nbytes for weight in weights.values())
    if size > SAMPLE_GRADIENT_BYTES:
        raise ValueError(
            f"the gradients of each of {parts.samples} samples would take {size / 2**30:.1f} GiB, more than the "
            f"{SAMPLE_GRADIENT_BYTES / 2**30:g} that are allowed: give fewer samples (max_batches, or less data)"
        )
    found = {name: np.empty((parts.samples, *weight.shape), weight.dtype) for name, weight in weights.items()}
    start = 0
    for x, y in parts:
        outputs = network.outputs(x)
        gradients = _backward(network, _loss_gradients(network, outputs, y, loss))
        for name, read in _reads(network).items():
            place = start
            for inputs, upstream in _pieces(network[name], outputs[read], gradients[name]):
                each = upstream @ inputs.transpose(0, 1, 3, 2)
                found[name][place : place + len(each)] = each.reshape(len(each), *weights[name].shape)
                place += len(each)
        start += len(x)
    return found


def input_hessian(
    network: Network, parts: Batches, loss: Loss | None = None, *, names: Collection[str] | None = None
) -> Arrays:
    """H = 2 X X^T of each layer (G, P, P): the curvature of its squared error in the weights of any one output.

    Of all layers, or those of `names`: it takes 8 G P^2 bytes of each.

    Notes
    -----
    ||W X - W' X||^2 = 1/2 sum_o (w_o - w'_o) H (w_o - w'_o)^T: exactly, a sum over all samples and positions, not a
    mean. `loss` has no part in it.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> parts = Batches(np.array([[1.0, 0.0], [1.0, 2.0]], np.float32), np.zeros(2, int), [np.arange(2)])
    >>> input_hessian(chain({"fc": Linear(2, 1)}), parts)["fc"].tolist()
    [[[4.0, 4.0], [4.0, 8.0]]]
    """
    found = {}
    for x, _ in parts:
        outputs = network.outputs(x)
        for name, read in _reads(network).items():
            for (inputs,) in _pieces(network[name], outputs[read]) if names is None or name in names else ():
                wide = inputs.transpose(1, 2, 0, 3).reshape(*inputs.shape[1:3], -1)
                part = 2 * wide @ wide.transpose(0, 2, 1)
                if name in found:
                    found[name] += part
                else:
                    found[name] = part
    return found


def _reads(network: Network) -> dict[str, str]:
    """Whose output each layer with weights reads."""
    weighted = network.weighted()
    return {node.name: node.inputs[0] for node in network.nodes if node.name in weighted}


def _loss_gradients(network: Network, outputs: Arrays, y: np.ndarray, loss: Loss) -> np.ndarray:
    """dl_n/dz_n of each sample's own loss."""
    z = outputs[network.nodes[-1].name]
    return np.concatenate([loss(z[n : n + 1], y[n : n + 1])[1] for n in range(len(z))])


def _backward(network: Network, upstream: np.ndarray) -> Arrays:
    """What comes back to the output of each layer."""
    gradients = {}
    network.backward(upstream, to_input=False, record=gradients)
    return gradients


def _pieces(layer: Weighted, x: np.ndarray, dy: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, ...]]:
    """X (n, G, P, Q), and D (n, G, O/G, Q) where dy is given, in float64, of as many samples as are held at once."""
    shape = layer.weight.shape
    positions = int(np.prod(layer.output_shape(x.shape[1:])[1:]))
    groups = 1 if x.ndim == 2 else x.shape[1] // shape[1]
    size = max(1, CHUNK // max(groups * int(np.prod(shape[1:])) * positions, int(np.prod(shape))))
    for start in range(0, len(x), size):
        inputs = unroll(layer, x[start : start + size]).astype(np.float64)
        if dy is None:
            yield (inputs,)
        else:
            part = dy[start : start + size].astype(np.float64)
            yield inputs, part.reshape(len(part), groups, shape[0] // groups, positions)


def _add_squares(network: Network, outputs: Arrays, gradients: Arrays, totals: Arrays) -> None:
    """Add sum_n (dl_n/dtheta)^2 of a batch to the totals."""
    for name, read in _reads(network).items():
        total = totals[name]
        for inputs, upstream in _pieces(network[name], outputs[read], gradients[name]):
            if inputs.shape[3] == 1:  # one position: (D X)^2 = D^2 X^2, a product of matrices
                d, x = np.square(upstream[..., 0]), np.square(inputs[..., 0])
                squares = d.transpose(1, 2, 0) @ x.transpose(1, 0, 2)
            else:
                squares = np.square(upstream @ inputs.transpose(0, 1, 3, 2)).sum(axis=0)
            total += squares.reshape(total.shape)


def _of_softmax(z: np.ndarray) -> Iterator[np.ndarray]:
    """The s_nk of the cross-entropy, one k after the other."""
    p = np.exp(log_softmax(z))
    for k in range(z.shape[1]):
        direction = p.copy()
        direction[:, k] -= 1
        yield np.sqrt(p[:, k : k + 1]) * direction


def _of_squares(z: np.ndarray) -> Iterator[np.ndarray]:
    """The s_nk of the mean squared error."""
    outputs = z[0].size
    for k in range(outputs):
        direction = np.zeros((len(z), outputs), z.dtype)
        direction[:, k] = np.sqrt(2 / outputs)
        yield direction.reshape(z.shape)


CURVATURES: dict[Loss, Callable[[np.ndarray], Iterator[np.ndarray]]] = {
    softmax_cross_entropy: _of_softmax,
    mean_squared_error: _of_squares,
}
