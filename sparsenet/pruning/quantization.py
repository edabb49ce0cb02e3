"""Quantisation after pruning: the kept weights of a layer share a few values (Deep Compression, Han et al. 2016)."""

from collections.abc import Mapping

import numpy as np

from ..checks import check_known
from ..nn.network import Network
from ..nn.normalization import NormalizedWeight
from ..nn.optimizers import CLUSTER
from ..nn.parameter import Parameter
from .codebook import kmeans_codebook
from .granularity import Arrays


def quantize(network: Network, bits: int | Mapping[str, int]) -> Arrays:
    """Put the nearest of at most 2^bits values, by k-means, in the place of every kept weight, and return the values.

    This loses accuracy, and is never done unasked. What comes after loses nothing: `fit` with
    `optimizers.SharedWeights` trains the values, and `save_network` then writes a codebook and a short code for each
    weight, from which every bit is read back.

    Parameters
    ----------
    network : Network
        Changed in place. Masks stay; biases and the numbers of a normalisation are left alone.
    bits : int or dict name -> int
        1 to 8, for all layers with weights or for those named: the others stay as they are. The paper took 5 for linear
        layers and 8 for convolutions.

    Returns
    -------
    dict of arrays
        Of each quantised layer its codebook, rising (`kmeans_codebook`); empty where a layer keeps no weight.

    Notes
    -----
    w_i = c_{k_i}  for every kept weight i

    The index k_i of each weight goes into the state of the trained parameter, in the place of what an optimiser
    remembers of it, which was of weights that moved one by one: as state it is copied, cut, saved and rolled back with
    the weight. The centroids are the weights themselves.

    Weight normalisation trains (g, v) with w = g v / ||v||: w takes the values of the codebook, v = w, and v shares
    them from then on; g, a number per output unit as a bias is, stays free. Pruning on is possible: what is left still
    shares. Weights that came back or moved otherwise do not, and have to be quantised again.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(4, 1)})
    >>> network["fc"].set_weight(np.array([[0.5, 1.5, -3.0, 0.25]]))
    >>> network.apply_masks({"fc": np.array([[True, True, True, False]])})
    >>> quantize(network, bits=1)["fc"].tolist(), network["fc"].weight.value.tolist()
    ([-3.0, 1.0], [[1.0, 1.0, -3.0, 0.0]])
    """
    weights = network.weights()
    bits = bits if isinstance(bits, Mapping) else dict.fromkeys(weights, bits)
    check_known("bits", bits, weights)
    found = {name: _codebook_of(name, weights[name], count) for name, count in bits.items()}
    for name, (codebook, indices) in found.items():
        _share(weights[name], codebook, indices)
    return {name: codebook for name, (codebook, _) in found.items()}


def _codebook_of(name: str, weight: Parameter, bits: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        return kmeans_codebook(weight.value[_kept(weight)].reshape(-1), bits)
    except (TypeError, ValueError) as error:
        error.add_note(f"found in layer {name!r}, before any was changed")
        raise


def _kept(weight: Parameter) -> np.ndarray:
    return np.ones(weight.shape, bool) if weight.mask is None else weight.mask


def _share(weight: Parameter, codebook: np.ndarray, indices: np.ndarray) -> None:
    """Make the kept weights those of the codebook, and note the cluster of each."""
    value, cluster = np.zeros(weight.shape, weight.dtype), np.zeros(weight.shape, weight.dtype)
    value[_kept(weight)] = codebook[indices]
    cluster[_kept(weight)] = indices
    weight.value = value
    trained = weight.direction if isinstance(weight, NormalizedWeight) else weight
    trained.state = {CLUSTER: cluster}
