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


def noise(x, rng):
    return x + rng.standard_normal(x.shape, x.dtype) * np.float32(0.1)


def test_augmentation_is_settled_by_the_seed_on_any_number_of_threads(digits):
    results = {}
    for augment in (noise, sn.augment.compose(sn.augment.shift(2), sn.augment.rotate())):
        for seed, threads in ((7, 1), (7, 2), (8, 1)):
            network = sn.models.simple_cnn(seed=0)
            sn.fit(network, small(digits), epochs=2, augment=augment, seed=seed, threads=threads)
            results[augment, seed, threads] = bits(network)
        assert results[augment, 7, 1] == results[augment, 7, 2] != results[augment, 8, 1]
    assert len(set(results.values())) == 4


def test_augmentation_keeps_to_its_own_batch_and_generator(digits):
    """However many numbers it draws, order of the samples and dropout stay; what it does to its x stays there."""

    def idle(x, rng):
        rng.random(100)
        y = x.copy()
        x[...] = np.float32(-1)
        return y

    def train(augment):
        network = sn.chain({"flat": sn.Flatten(), "drop": sn.Dropout(0.5, seed=9), "fc": sn.Linear(784, 10)})
        x, y = small(digits)
        kept = x.copy()
        sn.fit(network, (x, y), epochs=2, augment=augment, seed=3, validation=(x, y))
        assert np.array_equal(x, kept)
        return bits(network)

    assert train(idle) == train(lambda x, rng: x)


def test_augmentation_meets_each_training_sample_once_an_epoch_and_no_other():
    seen = []

    def watch(x, rng):
        seen.append(x.copy())
        return x

    x = np.arange(36, dtype=np.float32).reshape(9, 4) / 36
    sn.fit(sn.chain({"fc": sn.Linear(4, 3)}), (x, Y), epochs=2, batch_size=5, augment=watch, validation=(x + 1, Y))
    trial, *batches = seen
    assert np.array_equal(trial, x[:8])
    assert [len(batch) for batch in batches] == [5, 4, 5, 4]
    for epoch in (batches[:2], batches[2:]):
        rows = np.concatenate(epoch)
        assert np.array_equal(rows[np.argsort(rows[:, 0])], x)


def test_augmented_training_learns_what_it_has_never_been_shown():
    """Class 1 has its pixel left above, class 0 left below: of the right column only mirror images tell anything."""
    y = np.arange(40) % 2
    x = np.zeros((40, 1, 4, 4), np.float32)
    x[np.arange(40), 0, np.where(y, 0, 3), 0] = 1
    for augment, accuracy in ((None, 0.5), (sn.augment.flip(), 1.0)):
        fc = sn.Linear(16, 2, init=lambda shape, rng: np.zeros(shape, np.float32))
        network = sn.chain({"flat": sn.Flatten(), "fc": fc})
        sn.fit(network, (x, y), epochs=5, batch_size=8, augment=augment)
        assert sn.evaluate(network, (x, y)).accuracy == 1
        assert sn.evaluate(network, (x[..., ::-1].copy(), y)).accuracy == accuracy


def test_resumed_augmented_training_gives_the_same_bits(digits):
    through, stopped = (sn.models.lenet_300_100(seed=0) for _ in range(2))
    for network in (through, stopped):
        rng = np.random.default_rng(1)
        for _ in range(2):
            sn.fit(network, small(digits), epochs=1, augment=noise, seed=rng)
            if network is stopped:
                network = stopped = stopped.copy()
    assert bits(through) == bits(stopped)


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


def state_of(network):
    arrays = [p.value for p in network.parameters().values()] + list(network.buffers().values())
    return b"".join(a.tobytes() for a in arrays), [sorted(p.state) for p in network.parameters().values()]


def with_norm(classes=3):
    return sn.chain(
        {"fc1": sn.Linear(4, 5), "norm": sn.BatchNorm(5), "drop": sn.Dropout(), "fc2": sn.Linear(5, classes)}
    )


X, Y = np.random.default_rng(0).random((9, 4), np.float32), np.arange(9) % 3
T = X[:, :3] * 2
SQUARED = {"loss": sn.mean_squared_error, "metric": r_squared}


def changed(array, value):
    array = array.copy()
    array[-1] = value
    return array


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ((X, changed(Y, 3)), {}, ValueError, r"labels must be in 0\.\.2, not 0\.\.3"),
        ((X, changed(Y, -1)), {}, ValueError, r"labels must be in 0\.\.2, not -1\.\.2"),
        ((X, Y * 1.0), {}, ValueError, "labels must be 9 integers, not float64"),
        ((X, Y[:, None]), {}, ValueError, "labels must be 9 integers"),
        ((X, changed(T, np.nan)), SQUARED, ValueError, "data holds NaN or infinity"),
        ((X, changed(T, np.inf)), SQUARED, ValueError, "data holds NaN or infinity"),
        ((changed(X, -np.inf), Y), {}, ValueError, "data holds NaN or infinity"),
        ((X, T[:, :2]), SQUARED, ValueError, "target must have the output's shape"),
        ((X, T), {"loss": sn.mean_squared_error}, ValueError, "metric=r_squared"),
        ((X, Y), {"metric": r_squared}, ValueError, "target must have the output's shape"),
        ((X, Y), {"metric": lambda output: 0}, TypeError, "positional argument"),
        ((X, Y), {"loss": lambda output, y: (0.0, output[:, :1])}, ValueError, "dy must have the output's shape"),
        ((X, Y), {"loss": lambda output, y: (0.0, output.astype(float))}, TypeError, "dy must be float32"),
        (
            (X, Y),
            {"batch_size": 4},
            ValueError,
            "layer 'norm': BatchNorm needs at least two .* the last batch has 1 of 9",
        ),
        ((X[:1], Y[:1]), {}, ValueError, "the last batch has 1 of 1"),
        ((X, Y), {"batch_size": 1}, ValueError, "the last batch has 1 of 9"),
        ((X.astype(float), Y), {}, TypeError, "x is float64 and the network float32"),
        ((X[:, :3], Y), {}, ValueError, "Linear takes 4 features"),
        ((np.ma.array(X), Y), {}, TypeError, "x of data must be a plain array"),
        ((X, np.ma.array(Y)), {}, TypeError, "y of data must be a plain array"),
        ((X, Y), {"validation": (X, changed(Y, 7))}, ValueError, "labels must be in"),
        ((X, Y), {"validation": (changed(X, np.nan), Y)}, ValueError, "validation holds NaN or infinity"),
        ((X, Y), {"validation": (X[:, :2], Y)}, ValueError, "Linear takes 4 features"),
        ((X, Y), {"validation": X}, TypeError, "validation must be a pair"),
        ((X, T), SQUARED | {"validation": (X, T[:, :1])}, ValueError, "target must have the output's shape"),
        ((X, Y), {"optimizer": sn.SGD}, TypeError, "optimizer must be an SGD, an Adam or alike"),
        ((X, Y), {"optimizer": 0.1}, TypeError, "optimizer must be"),
        ((X, Y), {"lr_schedule": lambda t: float("nan")}, ValueError, r"lr_schedule\(0\) must be a finite number >= 0"),
        (
            (X, Y),
            {"lr_schedule": lambda t: 1 - 2 * t, "epochs": 4},
            ValueError,
            r"lr_schedule\(0\.75\) must .* not -0\.5",
        ),
        (
            (X, Y),
            {"lr_schedule": lambda t: np.inf if t else 1.0},
            ValueError,
            r"lr_schedule\(0\.5\) must be .* not inf",
        ),
        ((X, Y), {"lr_schedule": lambda t: "1" if t else 1.0}, TypeError, r"lr_schedule\(0\.5\) must be a number"),
        ((X, Y), {"lr_schedule": lambda t: None}, TypeError, r"lr_schedule\(0\) must be a number, not None"),
        ((X, Y), {"lr_schedule": 0.1}, TypeError, "lr_schedule must be a function"),
        ((X, Y), {"loss": lambda output, y: (0.0, output.tolist())}, TypeError, "dy must be a NumPy array, not list"),
        ((X, Y), {"on_epoch": 3}, TypeError, "on_epoch must be a function"),
        ((X, Y), {"augment": "flip"}, TypeError, "augment must be a function .* not 'flip'"),
        ((X, Y), {"augment": sn.augment.flip()}, ValueError, "images .* must have 4 dimensions, not shape"),
        ((X, Y), {"augment": sn.augment.flip}, TypeError, "positional argument"),  # it was not called
        ((X, Y), {"augment": lambda x, rng: x[:-1]}, ValueError, r"like x, float32 of shape \(8, 4\), not .*\(7, 4\)"),
        ((X, Y), {"augment": lambda x, rng: x[:, :3]}, ValueError, r"not float32 of shape \(8, 3\)"),
        ((X, Y), {"augment": lambda x, rng: x * 1.0 + rng.random(x.shape)}, ValueError, "not float64 of shape"),
        ((X, Y), {"augment": lambda x, rng: None}, ValueError, "not None"),
        ((X, Y), {"augment": lambda x, rng: x.tolist()}, ValueError, "must return a batch like x"),
        ((X, Y), {"augment": lambda x, rng: x / np.float32(0)}, ValueError, "NaN or infinity"),
        ((X, Y), {"augment": lambda x, rng: np.ma.array(x)}, TypeError, "must be a plain array"),
        ((X, Y), {"threads": 0}, ValueError, "threads"),
        ((X, Y), {"seed": -1}, ValueError, "non-negative"),
    ],
)
def test_what_can_be_known_is_checked_before_the_first_step(data, options, error, message):
    network = with_norm()
    rng_before = network["drop"].rng.bit_generator.state
    before = state_of(network)
    with pytest.raises(error, match=message), np.errstate(divide="ignore"):
        sn.fit(network, data, **({"epochs": 2} | options))
    assert state_of(network) == before
    assert network["drop"].rng.bit_generator.state == rng_before


def test_an_error_in_the_validation_data_says_so():
    with pytest.raises(ValueError, match="labels") as caught:
        sn.fit(with_norm(), (X, Y), epochs=1, validation=(X, Y + 1))
    assert caught.value.__notes__ == ["found in validation before the first step of training"]


def test_the_checks_take_what_can_be_trained():
    for options in (
        {"batch_size": 2},
        {"batch_size": 8},
    ):  # a last batch of one, without normalisation
        network = sn.chain({"fc": sn.Linear(4, 3)})
        assert len(sn.fit(network, (X, Y), epochs=1, **options)) == 1
    images = np.random.default_rng(1).random((3, 2, 2, 2), np.float32)
    network = sn.chain({"norm": sn.BatchNorm(2), "flat": sn.Flatten(), "fc": sn.Linear(8, 3)})
    sn.fit(network, (images, Y[:3]), epochs=1, batch_size=2)  # four values of each channel in one image
    sn.fit(with_norm(), (X, Y), epochs=1, batch_size=9, validation=(X[:1], Y[:1]))
    sn.fit(with_norm(), (X, T), epochs=1, validation=(X, T), **SQUARED)


def test_a_metric_meets_every_label_in_the_check():
    """One that needs all classes, as an area under the curve does, must not fail for the few samples of a trial."""

    def needs_all_classes(output, y):
        assert output.shape == (len(y), 3)
        if len(np.unique(y)) < 3:
            raise ValueError("only one class")
        return 0.5

    order = np.argsort(np.arange(60) % 3, kind="stable")
    x, y = np.tile(X, (7, 1))[:60], (np.arange(60) % 3)[order]
    sn.fit(with_norm(), (x, y), epochs=1, metric=needs_all_classes)


def test_a_network_that_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="no parameters to train"):
        sn.fit(sn.chain({"relu": sn.ReLU()}), (X, Y), epochs=1)
    network = with_norm()
    network["fc2"].bias.value[1] = np.inf
    with pytest.raises(ValueError, match=r"'fc2\.bias' holds NaN or infinity"):
        sn.fit(network, (X, Y), epochs=1)


def test_masked_arrays_are_refused_where_data_goes_in():
    network = with_norm()
    for use in (
        lambda: network(np.ma.array(X)),
        lambda: sn.predict(network, np.ma.array(X)),
        lambda: sn.evaluate(network, (np.ma.array(X), Y)),
        lambda: sn.score(network, sn.scores.taylor, (X, np.ma.array(Y))),
    ):
        with pytest.raises(TypeError, match="not a NumPy masked array"):
            use()


def test_an_error_of_the_schedule_names_the_progress():
    def late(progress):
        return 1.0 if progress < 0.5 else float("late")

    network = with_norm()
    before = state_of(network)
    with pytest.raises(ValueError, match="late") as caught:
        sn.fit(network, (X, Y), epochs=2, lr_schedule=late)
    assert caught.value.__notes__ == ["raised by lr_schedule(0.5), before the first step of training"]
    assert state_of(network) == before
    sn.fit(network, (X, Y), epochs=2, lr_schedule=lambda t: 1 - 2 * t)  # 1 and 0: the progress 1 is never reached


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_spoiled_statistics_cannot_be_trained(name, spoiled):
    network = with_norm()
    getattr(network["norm"], name)[2] = spoiled
    with pytest.raises(ValueError, match=rf"'norm\.{name}' holds NaN or infinity"):
        sn.fit(network, (X, Y), epochs=1)
