"""Criteria of the gradient of the loss, and of what is made of gradients: curvature along them, flow, movement.

First the absolute value or first the mean? `sensitivity` and `taylor` take the absolute value of each batch's gradient
and average after that: a weight that batches pull in opposite directions counts. `full_batch_sensitivity` and `snip`
average first: what batches do not agree about cancels, and how the data is cut into batches makes no difference. For
gradients +3 and -3 of two batches the first gives 3, the second 0; the first is never below the second.
"""

import numpy as np


def sensitivity(gradient: np.ndarray) -> np.ndarray:
    """Gradient (residual) sensitivity: magnitude of the gradient of each batch, then the mean over batches.

    Notes
    -----
    Printed: I_i = dL/dtheta_ij. Reading: |dL/dtheta_ij| per weight, for a signed gradient cannot rank importance;
    summed per structure; `score` averages it over batches:

    I = sum_b |b| |dL_b/dtheta| / sum_b |b|        higher = keep

    It depends on the batch size: batches of one sample give the mean magnitude per sample, one batch of all gives
    `full_batch_sensitivity`.

    Elsewhere gradients are mostly added up over batches with their signs, as torch's `backward` does, and the absolute
    value is taken at the end: that is `full_batch_sensitivity`.

    Examples
    --------
    >>> sensitivity(np.array([[0.5, -0.25], [0.0, 4.0]])).tolist()
    [[0.5, 0.25], [0.0, 4.0]]

    Two batches that pull the first weight in opposite directions, and the second one in the same:

    >>> first, second = np.array([[3.0, 1.0]]), np.array([[-3.0, 1.0]])
    >>> ((sensitivity(first) + sensitivity(second)) / 2).tolist()  # what `score` makes of them
    [[3.0, 1.0]]
    >>> full_batch_sensitivity((first + second) / 2).tolist()
    [[0.0, 1.0]]
    """
    return np.abs(gradient)


def full_batch_sensitivity(mean_gradient: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient of the mean loss over all batches: first the (signed) mean, then the absolute value.

    Notes
    -----
    I = |dL/dtheta|,  dL/dtheta = sum_b |b| dL_b/dtheta / sum_b |b|        higher = keep

    At a minimum it is zero everywhere, and ranks by what is left of the optimisation; see `sensitivity`.

    Examples
    --------
    >>> full_batch_sensitivity(np.array([[0.0, -1.0]])).tolist()
    [[0.0, 1.0]]
    """
    return np.abs(mean_gradient)


def taylor(weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """First-order Taylor criterion: how much the loss of each batch would change if the weight were zero.

    Notes
    -----
    I = |theta dL/dtheta|, from L(0) ~ L(theta) - theta dL/dtheta (Molchanov et al. 2016, which the article cites; there
    for feature maps, here per weight as in Molchanov et al. 2019, whose criterion is its square).    higher = keep

    `score` averages it over batches; absolute value first (the mean first is `snip`, which has the same formula).

    Elsewhere: jaxpruner's saliency is this, of the batch of one step. torch-pruning's `TaylorImportance` sums |theta
    dL/dtheta| over a filter too (with `multivariable=True` the absolute value comes after that sum), of the gradient
    that was added up before: over several batches its signs have cancelled, as in `snip`.

    Examples
    --------
    >>> taylor(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.5, -0.25], [0.0, 4.0]])).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    return np.abs(weight * gradient)


def snip(weight: np.ndarray, mean_gradient: np.ndarray) -> np.ndarray:
    """Connection sensitivity (SNIP): how fast the loss changes as a connection is switched off, at initialization.

    Notes
    -----
    Each connection gets a gate c_j, L(c * theta), and all gates are 1 (Lee et al. 2019, eq. 4):

    I_j = |dL/dc_j| = |theta_j dL/dtheta_j|        higher = keep

    The paper divides by the sum of all scores of the network (eq. 5): one positive number, which changes no order, in a
    layer or over all of them; it is left out. The formula is that of `taylor`, on the gradient of the mean loss (the
    signs of batches cancel) and before training: one pass over a batch, `prune`, then train. Weights are scored as they
    are and never drawn again; a tied or normalised weight has one gate, at the weight that the layer multiplies by.

    Elsewhere: the authors' code and its ports draw the weights anew for the scores, of a variance-scaled normal
    distribution; that of Synaptic-Flow does not. Iterated, `prune_at_initialization` makes iterative SNIP and FORCE.

    Examples
    --------
    >>> snip(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.5, -0.25], [0.0, 4.0]])).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    return np.abs(weight * mean_gradient)


def grasp(weight: np.ndarray, hessian_gradient: np.ndarray) -> np.ndarray:
    """Gradient signal preservation (GraSP): how much smaller the gradient becomes if the weight is removed.

    Notes
    -----
    Removing weight j is a step -theta_j, which changes the squared norm of the gradient by (to first order)

    S(-theta)_j = -2 theta_j (H g)_j        g the gradient of the mean loss, H its Hessian, over the weights that train

    The paper (Wang et al. 2020, eq. 8) drops the 2, calls S the score and removes the weights of the *highest* S:
    without them the gradient is larger. Here a higher score is kept, so

    I = theta H g = -S(-theta)        signed; higher = keep

    A negative score says that the gradient grows without the weight. Summed over a structure, weights of opposite signs
    cancel, as the first-order change of the norm does. `max_threshold` refuses it: it needs scores that are not
    negative.

    H g is exact (see `hessian_product`), of the loss as it is. Elsewhere: the authors' code divides the logits by 200
    before the loss, draws the weights of linear layers anew, and takes g and H of batches with as many samples of each
    class; all three change the ranking, the first most of all: the digits after 90 % pruning of LeNet-300-100, one
    seed, 38 % without it and 76 % with it (a `loss` of one's own can divide). It divides by |sum of all S| too, which
    does not. There are libraries with |theta H g|, or that keep what is to be removed: look at the sign first.

    Examples
    --------
    >>> grasp(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.5, 0.25], [-2.0, 4.0]])).tolist()
    [[0.5, -0.5], [-1.0, 0.0]]
    """
    return weight * hessian_gradient


def synflow(weight: np.ndarray, flow_gradient: np.ndarray) -> np.ndarray:
    """Synaptic flow (SynFlow): how much of what flows from input to output goes through the weight.

    Notes
    -----
    R is the sum of the outputs of the network with |theta| in the place of theta, fed with ones: in a chain of linear
    layers R = 1^T |theta_L| ... |theta_1| 1, the sum over all paths of the product of their |theta| (Tanaka et al.
    2020, section 6).

    I = |theta| dR/d|theta|        never negative; higher = keep

    Conserved: in a chain the scores of every layer sum to R, those into a neuron to those out of it (theorem 1), so
    that no layer runs empty when the network is pruned in many rounds. With branches the layers of a cut, through which
    everything must pass, sum to R with what shortcuts without weights carry across it.

    Needs the shape of the data and none of its values; float64 throughout, where R of a deep network would overflow
    float32. Meant to be iterated, 100 rounds of `prune_at_initialization`: in one round the widest layers go first.

    Elsewhere: the authors' code makes every number of the state positive, biases, shifts and running means included, in
    float32; there the sums of the layers differ by what biases add. Here they are 0, as in the paper's formula.

    Examples
    --------
    >>> synflow(np.array([[1.0, -2.0]]), np.array([[3.0, 0.5]])).tolist()
    [[3.0, 1.0]]
    """
    return np.abs(weight) * flow_gradient


def movement(movement: np.ndarray) -> np.ndarray:
    """Movement: whether training moved the weight away from zero, or towards it.

    Notes
    -----
    S = -sum_t theta_t dL/dtheta_t  over the steps of a training with `optimizers.Movement` (Sanh et al. 2020, section
    4; its factor, the learning rate of the scores, changes no order).        signed; higher = keep

    A step of gradient descent moves theta against dL/dtheta: away from zero where theta and dL/dtheta differ in sign,
    which counts positive. The magnitude of the weight has no part in it; a large weight that shrinks goes first.

    Elsewhere: the paper and NNI learn S while the forward pass uses the highest S only and the gradient goes past the
    mask (straight through), so that pruned weights can come back; the soft variant cuts at a threshold and adds a
    penalty. Here S is recorded in an ordinary training, and a pruned weight stays pruned.

    Of a weight normalisation w = g v / ||v||, what is recorded of v and g is put together (see `recorded_movement`).

    Examples
    --------
    >>> movement(np.array([[2.25, -1.0]])).tolist()
    [[2.25, -1.0]]
    """
    return movement
