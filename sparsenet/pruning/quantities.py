"""What a criterion may ask for: quantities of each layer, by the name of the criterion's argument.

=====================  ==================================================================  ========================
argument               what it is                                                          shape
=====================  ==================================================================  ========================
`weight`               theta, what the mask leaves of it                                   (O, C/G, kh, kw), (O, I)
`rng`                  the generator that `score` was given, or one from its seed
`gradient`             dL_b/dtheta, L_b the mean loss of batch b                           like the weight
`activations`          what the layer's units emit, behind their normalisation and ReLU    (N, O, H, W), (N, O)
`activation_gradient`  dL_b/d(activations)                                                 (N, O, H, W), (N, O)
`input_norms`          L2 norm, over all samples and positions, of what a weight reads     like the weight
`gamma`                scale of the batch normalisation right behind the layer             (O,)
`mask`                 True where the layer's mask keeps a weight                          like the weight
`fisher_diagonal`      the mean over all samples of each one's squared gradient            like the weight
`hessian_diagonal`     d^2 L/dtheta^2, exact, L the mean loss                              like the weight
`sample_gradients`     dl_n/dtheta of each sample n by itself                              (N, ...) of the weight's
`input_hessian`        2 X X^T, X the layer's inputs (unrolled) of all samples             (G, P, P), P = C/G kh kw
`mean_gradient`        g = dL/dtheta, L the mean loss of all batches                       like the weight
`hessian_gradient`     H g, H the Hessian of L over the prunable weights, exact            like the weight
`flow_gradient`        dR/d|theta|, R what flows through the network made positive         like the weight
`movement`             -sum theta dL/dtheta over the steps of `optimizers.Movement`        like the weight
=====================  ==================================================================  ========================

`gradient`, `activations` and `activation_gradient` are of one batch at a time: a criterion that asks for one of them is
called for each batch, and its scores are averaged over the samples. All others are of all batches together.
"""

from collections.abc import Callable, Collection

import numpy as np

from ..nn.network import Network
from ..nn.training import Loss
from .flow import flow_gradient
from .gradient_quantities import hessian_gradient, mean_gradient, recorded_movement
from .granularity import Arrays
from .hessians import fisher_diagonal, hessian_diagonal, input_hessian, sample_gradients
from .probe import Batches, activation_of, probe, set_gradients
from .statistics import gamma, input_norms

OF_A_BATCH = ("gradient", "activations", "activation_gradient")
OF_ALL_BATCHES: dict[str, Callable[[Network, Batches, Loss], Arrays]] = {
    "input_norms": input_norms,
    "mean_gradient": mean_gradient,
    "hessian_gradient": hessian_gradient,
    "flow_gradient": flow_gradient,
    "fisher_diagonal": fisher_diagonal,
    "hessian_diagonal": hessian_diagonal,
    "sample_gradients": sample_gradients,
    "input_hessian": input_hessian,
}
OF_THE_NETWORK: dict[str, Callable[[Network], Arrays]] = {
    "mask": Network.masks,
    "gamma": gamma,
    "movement": recorded_movement,
}
OF_THE_LAYER = ("weight", "rng")


def batch_quantities(
    network: Network, x: np.ndarray, y: np.ndarray, loss: Loss, needs: Collection[str] = OF_A_BATCH
) -> dict[str, Arrays]:
    """The quantities of one batch, by argument and layer; activations are held only where they are among the `needs`.

    Examples
    --------
    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, 2.0]]))
    >>> batch = np.array([[1.0, 0.5]], np.float32), np.ones((1, 1), np.float32)
    >>> batch_quantities(network, *batch, mean_squared_error)["gradient"]["fc"].tolist()  # 2 (y - t) x
    [[2.0, 1.0]]
    """
    if not {"activations", "activation_gradient"} & set(needs):
        set_gradients(network, x, y, loss)
        return {"gradient": {name: weight.grad for name, weight in network.weights().items()}}
    seen = probe(network, x, y, loss)
    places = {name: activation_of(network, name) for name in network.weights()}
    return {
        "gradient": {name: weight.grad for name, weight in network.weights().items()},
        "activations": {name: seen.outputs[place] for name, place in places.items()},
        "activation_gradient": {name: seen.gradients[place] for name, place in places.items()},
    }
