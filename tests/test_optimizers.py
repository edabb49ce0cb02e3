"""Optimisers: steps by hand, torch as oracle, and a pruned weight that stays pruned under every one of them."""

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.nn.optimizers import constant, cosine, linear_decay, step_decay, warmup
from sparsenet.nn.parameter import Parameter

OPTIMIZERS = {
    "sgd": sn.SGD(lr=0.1),
    "momentum": sn.SGD(lr=0.1, momentum=0.9),
    "nesterov": sn.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "decay": sn.SGD(lr=0.1, momentum=0.9, weight_decay=0.05),
    "adam": sn.Adam(lr=0.1),
    "adam decay": sn.Adam(lr=0.1, beta1=0.8, weight_decay=0.05),
}


def torch_optimizer(name, parameters):
    import torch

    return {
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.1),
        "momentum": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "nesterov": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
        "decay": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.05),
        "adam": lambda: torch.optim.Adam(parameters, lr=0.1),
        "adam decay": lambda: torch.optim.Adam(parameters, lr=0.1, betas=(0.8, 0.999), weight_decay=0.05),
    }[name]()


def test_sgd_by_hand():
    parameter = Parameter(np.array([1.0, -2.0]))
    for gradient in ([1.0, 0.0], [0.0, 4.0]):
        parameter.grad = np.array(gradient)
        sn.SGD(lr=0.5, momentum=0.5).update(parameter, 0.5)
    # v = (1, 0), theta = (0.5, -2); v = (0.5, 4), theta = (0.25, -4)
    assert parameter.value.tolist() == [0.25, -4.0]
    nesterov = Parameter(np.array([1.0]), np.array([4.0]))
    sn.SGD(lr=0.5, momentum=0.25, nesterov=True).update(nesterov, 0.5)
    assert nesterov.value.tolist() == [1 - 0.5 * (4 + 0.25 * 4)]
    decayed = Parameter(np.array([2.0]), np.array([1.0]))
    sn.SGD(lr=0.5, weight_decay=0.25).update(decayed, 0.5)
    assert decayed.value.tolist() == [2 - 0.5 * (1 + 0.5)]


def test_adam_by_hand():
    """The first step is lr * sign(g), whatever the gradient's size (bias correction)."""
    parameter = Parameter(np.array([1.0, 1.0, 1.0]), np.array([1e-3, -5.0, 0.0]))
    sn.Adam(lr=0.1, eps=1e-12).update(parameter, 0.1)
    np.testing.assert_allclose(parameter.value, [0.9, 1.1, 1.0])


def test_two_steps_of_adam_by_hand():
    parameter, adam = Parameter(np.array([0.0])), sn.Adam(lr=1.0, beta1=0.5, beta2=0.75, eps=1.0)
    parameter.grad = np.array([1.0])
    adam.update(parameter, 1.0)  # m = 1/2, v = 1/4: both 1 without their bias
    assert parameter.value.tolist() == [-1 / (1 + 1)]
    parameter.grad = np.array([3.0])
    adam.update(parameter, 1.0)  # m = 1.75 of 1 - 1/4, v = 0.75 / 4 + 9 / 4 of 1 - 9/16
    np.testing.assert_allclose(parameter.value, [-0.5 - (1.75 / 0.75) / (np.sqrt(2.4375 / 0.4375) + 1)])


def test_defaults_are_those_of_the_papers():
    assert sn.SGD() == sn.SGD(lr=0.05, momentum=0, nesterov=False, weight_decay=0)
    assert sn.Adam() == sn.Adam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0)
    np.testing.assert_allclose([step_decay()(t) for t in (0.49, 0.5, 0.74, 0.75)], [1, 0.1, 0.1, 0.01])


@pytest.mark.torch
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_torchs(rng, name):
    import torch

    parameter = Parameter(rng.standard_normal((3, 4)))
    twin = torch.from_numpy(parameter.value.copy()).requires_grad_()
    optimizer = torch_optimizer(name, [twin])
    for _ in range(5):
        parameter.grad = rng.standard_normal((3, 4))
        twin.grad = torch.from_numpy(parameter.grad.copy())
        optimizer.step()
        OPTIMIZERS[name].update(parameter, 0.1)
    np.testing.assert_allclose(parameter.value, twin.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_pruned_weight_stays_pruned(rng, name):
    """Gradient, state and value, with momentum built up before the pruning; the others move as if nothing happened."""
    pruned, free = (Parameter(np.ones((4, 5))) for _ in range(2))
    mask = rng.random((4, 5)) < 0.5
    gradients = rng.standard_normal((6, 4, 5))
    for step, gradient in enumerate(gradients):
        if step == 3:
            pruned.set_mask(mask)
        for parameter in (pruned, free):
            parameter.grad = gradient.copy()
            OPTIMIZERS[name].update(parameter, 0.1)
        if step >= 3:
            arrays = [pruned.value, pruned.grad, *(a for a in pruned.state.values() if a.ndim)]
            assert all(not array[~mask].any() for array in arrays)
    np.testing.assert_array_equal(pruned.value[mask], free.value[mask])


def test_a_pruned_weight_stays_pruned_under_weight_normalisation(digits):
    network = sn.models.simple_cnn(weight_norm=True, seed=2)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.8)
    masks, few = network.masks(), (digits.train.x[:96], digits.train.y[:96])
    sn.fit(network, few, epochs=2, optimizer=sn.SGD(lr=0.05, momentum=0.9, weight_decay=0.1))
    for name, weight in network.weights().items():
        assert not weight.value[~masks[name]].any()
        assert weight.value[masks[name]].all()
    assert network.sparsity() == pytest.approx(0.8, abs=1e-4)


def test_schedules_by_hand():
    assert [constant(t) for t in (0, 0.5, 1)] == [1, 1, 1]
    np.testing.assert_allclose([cosine(t) for t in (0, 0.5, 1)], [1, 0.5, 0], atol=1e-15)
    assert [linear_decay(t) for t in (0, 0.25, 1)] == [1, 0.75, 0]
    drop = step_decay(0.1, at=(0.5, 0.75))
    np.testing.assert_allclose([drop(t) for t in (0, 0.49, 0.5, 0.8)], [1, 1, 0.1, 0.01])
    rise = warmup(0.2, linear_decay)
    np.testing.assert_allclose([rise(t) for t in (0, 0.1, 0.2, 0.6, 1)], [0, 0.5, 1, 0.5, 0])
    at_once = warmup(0, linear_decay)
    assert [at_once(t) for t in (0, 0.25, 1)] == [1, 0.75, 0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sn.SGD(lr=0), "lr must be a finite number > 0"),
        (lambda: sn.SGD(lr=float("nan")), "lr"),
        (lambda: sn.SGD(lr=0.1, momentum=1), "momentum"),
        (lambda: sn.SGD(lr=0.1, nesterov=True), "nesterov needs momentum"),
        (lambda: sn.SGD(lr=0.1, weight_decay=-1), "weight_decay"),
        (lambda: sn.Adam(beta2=1.0), "beta2"),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
