"""fit, predict, evaluate: learning, determinism, resuming, regression, errors."""

import numpy as np
import pytest
from helpers import random_cnn

import sparsenet as sn
from sparsenet.data.datasets import Split
from sparsenet.nn.losses import r_squared


def bits(network):
    return b"".join(p.value.tobytes() for p in network.parameters().values())


def small(digits, count=160):
    return Split(digits.train.x[:count], digits.train.y[:count])


def test_training_learns_the_digits(trained, digits):
    assert sn.evaluate(trained, digits.test).accuracy > 0.93


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(digits):
    results = []
    for seed, threads in ((7, 1), (7, 2), (8, 1)):
        network = sn.models.simple_cnn(seed=0)
        sn.fit(network, small(digits), epochs=2, seed=seed, threads=threads)
        results.append(bits(network))
    assert results[0] == results[1] != results[2]


def test_history_and_hook(digits):
    seen = []
    history = sn.fit(
        sn.models.lenet_300_100(seed=0),
        small(digits),
        epochs=3,
        optimizer=sn.SGD(lr=0.1),
        lr_schedule=lambda t: 1 - t,
        validation=digits.validation,
        batch_size=80,
        on_epoch=seen.append,
    )
    assert seen == history
    assert [e.epoch for e in history] == [1, 2, 3]
    assert history[-1].loss < history[0].loss
    assert 0 < history[-1].validation_accuracy <= 1
    np.testing.assert_allclose([e.learning_rate for e in history], [0.1 * (1 - s / 6) for s in (1, 3, 5)])


def test_resumed_training_gives_the_same_bits(digits, tmp_path):
    through, stopped = (sn.models.simple_cnn(seed=0) for _ in range(2))
    for optimizer in (sn.SGD(lr=0.05, momentum=0.9), sn.Adam()):
        rng = np.random.default_rng(1)
        for _ in range(2):
            sn.fit(through, small(digits), epochs=1, optimizer=optimizer, seed=rng)
        rng = np.random.default_rng(1)
        sn.fit(stopped, small(digits), epochs=1, optimizer=optimizer, seed=rng)
        sn.save_network(tmp_path / "stopped.sparsenet", stopped, state=True)
        stopped = sn.load_network(tmp_path / "stopped.sparsenet")
        sn.fit(stopped, small(digits), epochs=1, optimizer=optimizer, seed=rng)
        assert bits(through) == bits(stopped)


def test_dropout_is_settled_by_the_seed(digits):
    def train(seed):
        network = sn.chain(
            {"flatten": sn.Flatten(), "drop": sn.Dropout(0.5), "fc": sn.Linear(784, 10), "drop2": sn.Dropout(0.1)}
        )
        sn.fit(network, small(digits), epochs=1, seed=seed)
        return bits(network)

    assert train(1) == train(1) != train(2)


def test_regression(rng):
    x = rng.standard_normal((300, 4)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2], [0.5], [3]]) + 1).astype(np.float32)
    network = sn.chain({"fc1": sn.Linear(4, 16), "relu": sn.ReLU(), "fc2": sn.Linear(16, 1)})
    sn.fit(network, (x, y), epochs=30, optimizer=sn.Adam(lr=0.01), loss=sn.mean_squared_error, metric=r_squared)
    result = sn.evaluate(network, (x, y), loss=sn.mean_squared_error, metric=r_squared)
    assert result.accuracy > 0.98
    assert result.loss < 0.3


def test_predict_does_not_depend_on_the_batches(rng):
    network = random_cnn(2, batch_norm=True)
    x = rng.standard_normal((7, 2, 9, 8)).astype(np.float32)
    np.testing.assert_allclose(sn.predict(network, x, batch_size=3), network(x), rtol=1e-5, atol=1e-6)
    assert sn.predict(network, x[:0]).shape == (0, 3)


def test_bad_input_is_named(digits):
    network = sn.models.lenet_300_100()
    x, y = small(digits)
    with pytest.raises(ValueError, match="epochs must be at least 0"):
        sn.fit(network, (x, y), epochs=-1)
    with pytest.raises(ValueError, match="batch_size"):
        sn.fit(network, (x, y), epochs=1, batch_size=0)
    with pytest.raises(ValueError, match="as many x as y"):
        sn.fit(network, (x, y[:-1]), epochs=1)
    with pytest.raises(TypeError, match="data must be a pair"):
        sn.fit(network, x, epochs=1)
    with pytest.raises(ValueError, match="at least one"):
        sn.evaluate(network, (x[:0], y[:0]))
    with (
        pytest.raises(FloatingPointError, match="lower the learning rate"),
        np.errstate(all="ignore"),
    ):
        sn.fit(network, (x, y), epochs=3, optimizer=sn.SGD(lr=1e6))


def test_nan_is_refused_in_the_data_and_found_in_the_parameters(digits):
    x, y = small(digits)
    with pytest.raises(ValueError, match="data holds NaN or infinity"):
        sn.fit(sn.models.lenet_300_100(), (np.where(x > 0.5, np.float32(np.nan), x), y), epochs=1)
    with pytest.raises(TypeError, match="must hold NumPy arrays"):
        sn.fit(sn.models.lenet_300_100(), (x.tolist(), y.tolist()), epochs=1)

    class Spoiler:
        lr = 1.0

        def update(self, parameter, lr):
            parameter.value[...] = np.nan

    with pytest.raises(FloatingPointError, match="training diverged"):
        sn.fit(sn.models.lenet_300_100(), (x, y), epochs=1, optimizer=Spoiler(), batch_size=len(x))
