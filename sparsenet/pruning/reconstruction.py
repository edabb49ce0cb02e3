"""Layers that make what they made before with fewer weights: ExactOBS, and least squares, joined to the network.

For pruning without retraining, from a few hundred samples. Test accuracy in % on the digits (SimpleCNN), 90 % gone of
both convolutions and the output layer in one step, nothing trained after it, one seed:

==============================================  ====
dense                                           98.3
`obc_prune`                                     96.9
masks by `l1`, then `reconstruct`               90.4
masks by `obs`, weights as they were            72.1
masks by `l1`, weights as they were             64.2
==============================================  ====

The update of the weights is worth more than the choice of those that go.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np

from ..checks import check_count, check_fraction, check_known, check_mask
from ..machine.threads import threads as use_threads
from ..nn.network import Network
from ..nn.training import Data
from .exact_obs import DAMPING, Pruned, exact_obs, exact_obs_nm, refit
from .granularity import Arrays
from .hessians import input_hessian
from .probe import Batches, draw_batches


def obc_prune(
    network: Network,
    data: Data,
    sparsity: float,
    *,
    block: int = 1,
    exclude: Collection[str] = (),
    overrides: Mapping[str, float] | None = None,
    damping: float = DAMPING,
    batch_size: int = 256,
    max_batches: int | None = 16,
    seed: int | np.random.Generator = 0,
    threads: int | None = None,
) -> Arrays:
    """Prune each layer by ExactOBS (optimal brain compression, Frantar & Alistarh 2022), in place: masks and weights.

    A layer of O rows of P inputs takes O P^3 steps and 8 P^2 bytes: wide ones may be left out. No training follows it:
    the weights that stay are the least-squares solution for their layer. What makes it better
    than pruning by any score is that they change; scores alone are `scores.obs`.

    Parameters
    ----------
    data : (x, y)
        Calibration data: the layers' inputs are taken from x, of `max_batches` batches drawn without replacement.
        Labels are not used. The fewer the samples, the more a larger `damping` helps.
    sparsity : float in [0, 1)
        Fraction removed of the weights (of the blocks) of each layer, those pruned before included.
    block : int
        Consecutive weights of a row that go together, as in `Block(1, block)`.
    exclude, overrides
        Layers left out, and layers with a sparsity of their own, by name.
    damping : float
        See `exact_obs`.

    Returns
    -------
    dict of masks
        Of the layers that were pruned.

    Notes
    -----
    The layers are independent, as in the paper's pruning: the inputs of each are those of the network as it was given,
    from one pass over the data. (Their sequential variant, layer after layer on what the pruned ones before make, is
    for quantisation.)

    Biases stay, but for units that lose all weights: they emit 0, as after `apply_masks`. With weight normalisation w
    is what is fitted: v becomes w, g its norm. Existing masks stay. Nothing is changed where an error is raised.

    Examples
    --------
    H = 2 [[2, 1], [1, 1]]. The first row loses its second weight at a cost of 2 (its first: 4), and the other takes on
    half of it; the second row loses its first.

    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(2, 2)})
    >>> network["fc"].set_weight(np.array([[2.0, 2.0], [0.5, 4.0]]))
    >>> data = np.array([[1.0, 0.0], [1.0, 1.0]], np.float32), np.zeros(2, int)
    >>> obc_prune(network, data, 0.5, damping=0)["fc"].astype(int).tolist()
    [[1, 0], [0, 1]]
    >>> network["fc"].weight.value.tolist()
    [[3.0, 0.0], [0.0, 4.5]]
    """
    asked = _asked(network, sparsity, exclude, overrides or {})
    check_count("block", block)
    rules = {name: partial(exact_obs, sparsity=own, block=block, damping=damping) for name, own in asked.items()}
    parts = draw_batches(data, batch_size, max_batches, np.random.default_rng(seed))
    return _apply(network, parts, rules, threads)


def obc_prune_nm(
    network: Network,
    data: Data,
    keep: int,
    of: int,
    *,
    exclude: Collection[str] = (),
    damping: float = DAMPING,
    batch_size: int = 256,
    max_batches: int | None = 16,
    seed: int | np.random.Generator = 0,
    threads: int | None = None,
) -> Arrays:
    """Prune each layer to N:M sparsity by ExactOBS, in place: of each `of` consecutive weights `keep` stay.

    The rest as in `obc_prune`. A layer whose rows `of` does not divide is refused: name it in `exclude`.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(4, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, 2.0, 3.0, 4.0]]))
    >>> data = np.eye(4, dtype=np.float32), np.zeros(4, int)
    >>> obc_prune_nm(network, data, 1, 2)["fc"].astype(int).tolist()
    [[0, 1, 0, 1]]
    """
    names = _asked(network, 0.0, exclude, {})
    check_count("keep", keep)
    check_count("of", of, at_least=keep)
    odd = [name for name in names if network[name].weight.value[0].size % of]
    if odd:
        raise ValueError(f"of must divide the weights of each row, which {of} does not in {', '.join(map(repr, odd))}")
    rules = {name: partial(exact_obs_nm, keep=keep, of=of, damping=damping) for name in names}
    return _apply(network, draw_batches(data, batch_size, max_batches, np.random.default_rng(seed)), rules, threads)


def reconstruct(
    network: Network,
    data: Data,
    masks: Mapping[str, np.ndarray],
    *,
    damping: float = DAMPING,
    batch_size: int = 256,
    max_batches: int | None = 16,
    seed: int | np.random.Generator = 0,
    threads: int | None = None,
) -> Arrays:
    """Apply masks of any criterion, and refit what stays of each layer to what the layer made before, in place.

    By least squares (`refit`), on the inputs of the network as it was given; the rest as in `obc_prune`. Returns the
    masks, with what was pruned before.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, 2.0]]))
    >>> data = np.array([[1.0, 2.0], [2.0, 4.0]], np.float32), np.zeros(2, int)
    >>> masks = reconstruct(network, data, {"fc": np.array([[True, False]])}, damping=1e-6)
    >>> network["fc"].weight.value.round(3).tolist()  # 1 x + 2 (2 x)
    [[5.0, 0.0]]
    """
    layers, current = network.weighted(), network.masks()
    check_known("masks", masks, layers)
    if not masks:
        raise ValueError("masks must name at least one layer")
    masks = {n: check_mask(f"the mask of {n!r}", mask, current[n].shape) & current[n] for n, mask in masks.items()}

    def to_mask(name, weight, hessian, mask):
        return refit(weight, hessian, masks[name], damping=damping), masks[name]

    rules = {name: partial(to_mask, name) for name in masks}
    return _apply(network, draw_batches(data, batch_size, max_batches, np.random.default_rng(seed)), rules, threads)


def _asked(
    network: Network, sparsity: float, exclude: Collection[str], overrides: Mapping[str, float]
) -> dict[str, float]:
    """The sparsity of each layer that is to be pruned."""
    names = network.weights()
    check_known("exclude", exclude, names)
    check_known("overrides", overrides, names)
    both = sorted(set(exclude) & set(overrides))
    if both:
        raise ValueError(f"overrides names {', '.join(map(repr, both))}, which exclude leaves out")
    sparsity = check_fraction("sparsity", sparsity)
    own = {name: check_fraction(f"overrides[{name!r}]", value) for name, value in overrides.items()}
    asked = {name: own.get(name, sparsity) for name in names if name not in exclude}
    if not asked:
        raise ValueError("exclude must leave at least one layer to prune")
    return asked


def _apply(network: Network, parts: Batches, rules: Mapping[str, Callable[..., Pruned]], threads: int | None) -> Arrays:
    """Make the new weights and masks of all layers by their rules, then set them."""
    current, made = network.masks(), {}
    with use_threads(threads):
        hessians = input_hessian(network, parts, names=rules)
        network.forget()
        for name, rule in rules.items():
            made[name] = rule(network[name].weight.value, hessians.pop(name), mask=current[name])
    for name, (weight, _) in made.items():
        network[name].set_weight(weight)
    masks = {name: mask for name, (_, mask) in made.items()}
    network.apply_masks(masks)
    return masks
