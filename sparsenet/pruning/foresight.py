"""Pruning at initialization: round after round of scores and masks, and no training between (nor before).

Which when: `snip` in one round first, and `snip` with `revive` beside it: the two stood the most below, where rounds
that go one way did worse than one (the papers have it the other way round for deep convolutional networks with more
than 95 % gone).

================  ======================  ========================================  ========
method            criterion               schedule                                  `revive`
================  ======================  ========================================  ========
SNIP, GraSP       `snip`, `grasp`         `one_shot(final=s)`
iterative SNIP    `snip`                  `geometric(rounds, s)`, tens of rounds
FORCE             `snip`                  `geometric(rounds, s)`, tens of rounds    True
SynFlow           `synflow`               `geometric(100, s)`
================  ======================  ========================================  ========

Test accuracy in % on the digits (LeNet-300-100, the mean of three seeds, eight epochs of training after it):

=========================  ======  ======  ======
gone                       90 %    98 %    99.5 %
=========================  ======  ======  ======
`random`                   94.1    14.0    10.0
`l1`                       95.8    93.1    34.0
`snip`                     93.8    91.7    86.9
`snip`, 50 rounds          92.8    83.7    66.5
`snip`, 50 rounds, revive  94.8    93.4    84.1
`grasp`                    43.0    27.6    19.4
`synflow`, one round       94.4    10.0    10.0
=========================  ======  ======  ======

Batch normalisation is as in evaluation, by its running statistics, which are 0 and 1 before training; the authors'
codes use the batch's. The papers' exponential schedule is `schedules.geometric`: the same fraction of what remains goes
each round.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..checks import check_data, check_fraction, warn_caller
from ..nn.losses import softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Loss
from .cycle import prune_targets
from .granularity import Arrays
from .scoring import Criterion, criterion_name, score
from .strategies import Strategy, proportional
from .targets import find_targets


def prune_at_initialization(
    network: Network,
    criterion: Criterion,
    data: Data,
    *,
    schedule: Sequence[float],
    strategy: Strategy = proportional,
    revive: bool = False,
    exclude: Collection[str] = (),
    overrides: Mapping[str, float] | None = None,
    tied: str = "sum",
    loss: Loss = softmax_cross_entropy,
    batch_size: int = 256,
    max_batches: int | None = 16,
    seed: int | np.random.Generator = 0,
    threads: int | None = None,
) -> Arrays:
    """Prune the network in place in many rounds without training; weights that stay keep their values.

    Parameters
    ----------
    data : (x, y)
        What is scored on; each round draws batches of its own (for `synflow` only the shape of x counts).
    schedule : list of float
        Sparsity to reach in each round, for instance `schedules.geometric(100, 0.95)`.
    revive : bool
        Score what is pruned too, by the value it had and the gradient of the network without it, so that it can come
        back (FORCE). What was pruned before the call stays pruned.
    exclude, overrides, tied
        See `prune`.
    batch_size, max_batches
        See `score`.

    Returns
    -------
    dict of masks
        Those of the last round, as `prune` returns them.

    Notes
    -----
    With theta the weights at the start, c_0 = 1 and s_t the schedule, each round is

    c_t = the round((1 - s_t) n) highest of I(c_{t-1} * theta, gradients there)            one way: among those kept
    c_t = the round((1 - s_t) n) highest of I(theta, gradients at c_{t-1} * theta)         `revive`: among all

    Tanaka et al. 2020, algorithm 1, and de Jorge et al. 2021 (iterative SNIP) go one way; FORCE (de Jorge et al. 2021)
    revives. A layer keeps a unit at least, as with all masks, so that none collapses. A weight into a unit that is
    empty, and silent behind a ReLU, has no gradient: it does not come back by itself. When a round raises, the network
    is put back as it was.

    Elsewhere: the authors' codes cut at a threshold, so that of equal scores all stay (FORCE) or all go (SynFlow), and
    a layer may be left without weights; masks here have the exact count, and a floor.

    Examples
    --------
    y = W x for x = (1, 1), with residuals 0.1 and 0.5: half goes, and of the lowest |theta g| that is the first row.
    Without it its residual is -2.9, and the second round finds it the more important one, if it may come back.

    >>> from sparsenet import Linear, chain, mean_squared_error, scores
    >>> data = np.array([[1.0, 1.0]], np.float32), np.array([[2.9, 6.5]], np.float32)
    >>> for revive in (False, True):
    ...     network = chain({"fc": Linear(2, 2)})
    ...     network["fc"].set_weight(np.array([[2.0, 1.0], [4.0, 3.0]]))
    ...     options = {"schedule": [0.5, 0.5], "revive": revive, "loss": mean_squared_error}
    ...     masks = prune_at_initialization(network, scores.snip, data, **options)
    ...     network["fc"].weight.value.tolist()
    [[0.0, 0.0], [4.0, 3.0]]
    [[2.0, 1.0], [0.0, 0.0]]
    """
    check_data("data", data)
    schedule = [check_fraction("schedule", requested) for requested in schedule]
    if not schedule:
        raise ValueError("schedule must hold at least one sparsity")
    targets = find_targets(network, network.weights(), strategy, exclude, overrides or {}, tied)
    rng, start, by = np.random.default_rng(seed), network.copy(), criterion_name(criterion)
    options = {"loss": loss, "batch_size": batch_size, "max_batches": max_batches, "seed": rng, "threads": threads}
    if revive:
        options["weights"] = {name: weight.value for name, weight in start.weights().items()}
    try:
        for requested in schedule:
            scores = score(network, criterion, data, **options)
            if revive:
                network.restore(start)
            masks, idle = prune_targets(network, scores, strategy, requested, targets, by=by)
    except BaseException:
        network.restore(start)
        raise
    if idle:
        warn_caller(idle)
    return masks
