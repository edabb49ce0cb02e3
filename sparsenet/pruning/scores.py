"""Criteria: importance of every weight, an array shaped like the weight; a higher score is kept.

A criterion is a function; the names of its arguments say what it needs (`quantities` lists what there is), and its
place in `criteria/` too. The importance of a structure (neuron, filter, channel) is the sum of its weights' scores: see
`granularity.sum_over_structures`.

theta_ij is the weight from neuron i to neuron j; formulas as printed in the article "Optimising neural networks by
sparsity-based pruning", section 4.1, each with the reading that is implemented.

Which when: `l1` unless there is a reason, it needs no data, and with retraining nothing beat it below. What the loss
does when one weight goes is told by `fisher`, `obd` and `taylor`, in this order (rank correlations with the truth of
0.97, 0.97 and 0.95 within a layer of a small network, `l1` 0.42: `benchmarks/criteria.py`); when nine tenths go at
once and the rest is retrained, the order is another one: there `synflow`, `obs` and `woodfisher` are among the first.
`sensitivity` rarely, for a small gradient says that a weight is settled, not that it is unimportant;
the criteria of filters for filters; `random` is the baseline: a criterion that does not beat it has found nothing.

Test accuracy in % on MNIST (SimpleCNN, 99.3 % dense), 90 % gone in one step (of the weights of each layer, of all, or
of the filters), two epochs of retraining, one seed:

=============  =========  ============  ===========
criterion      layerwise  proportional  channelwise
=============  =========  ============  ===========
`l1`           98.94      99.29         97.34
`l2`           98.94      99.29         97.22
`taylor`       98.56      99.27         97.21
`sensitivity`  87.75      99.03         97.25
`random`       95.01      95.85         97.25
=============  =========  ============  ===========

Sensitivity, layer by layer, did worse than chance, and among whole filters no criterion was clearly better: with nine
tenths of them gone, retraining decides.
"""

from .criteria.activations import apoz, mean_activation, taylor_feature_maps, taylor_gates, wanda
from .criteria.curvature import fisher, obd, obs, woodfisher
from .criteria.gradients import full_batch_sensitivity, grasp, movement, sensitivity, snip, synflow, taylor
from .criteria.weights import fpgm, l1, l2, lamp, ln, random, slimming

CRITERIA = {
    criterion.__name__: criterion
    for criterion in (
        *(l1, l2, lamp, fpgm, slimming),
        *(sensitivity, full_batch_sensitivity, taylor, snip, grasp, synflow, movement),
        *(wanda, apoz, mean_activation, taylor_feature_maps, taylor_gates),
        *(fisher, obd, obs, woodfisher),
        random,
    )
}

__all__ = ["CRITERIA", *CRITERIA, "ln"]  # ln is a criterion once its n is given
