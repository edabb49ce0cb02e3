"""Corruptions by hand and by their invariants; calibration, agreement and the suite on models that are known."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

import sparsenet as sn
from sparsenet.nn.corruptions import CORRUPTIONS, STRENGTHS
from sparsenet.nn.losses import agreement, expected_calibration_error


@pytest.fixture
def images(rng):
    return rng.random((6, 2, 12, 10)).astype(np.float32)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_shape_type_input_and_seed(images, name, strength):
    before = images.copy()
    first, second = (CORRUPTIONS[name](images, strength, np.random.default_rng(3)) for _ in range(2))
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert np.array_equal(first, second)
    assert np.array_equal(images, before)
    assert not np.array_equal(first, images)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_farther_from_the_image(name):
    """On smooth images: on noise a shift by one is as far as one by five."""
    h, w = np.mgrid[:24, :24]
    x = np.exp(-((h - 11.0) ** 2 + (w - 12.0) ** 2) / 60 + 0 * h)[None, None].astype(np.float32)
    x = np.repeat(np.concatenate([x, x.transpose(0, 1, 3, 2) ** 2]), 20, axis=0)
    if name == "rotation":
        x = x * (1 + np.sin(w / 3)).astype(np.float32)  # a round blob does not turn
    far = [float(np.abs(CORRUPTIONS[name](x, s, np.random.default_rng(0)) - x).mean()) for s in STRENGTHS]
    assert far == sorted(far)
    assert far[0] > 0


def test_shift_by_hand(images):
    moved = sn.corruptions.shift(images, 2, np.random.default_rng(0))
    found = set()
    for n in range(len(images)):
        for down, right in np.ndindex(2, 2):
            rows, columns = ((slice(2, None), slice(None, -2))[d] for d in (down, right))
            back_rows, back_columns = ((slice(None, -2), slice(2, None))[d] for d in (down, right))
            if np.array_equal(moved[n][:, back_rows, back_columns], images[n][:, rows, columns]):
                found.add(n)
                assert int((moved[n] == 0).sum()) == 2 * (12 * 10 - 10 * 8)
    assert found == set(range(len(images)))


def test_noise_has_the_spread_it_says(rng):
    x = rng.standard_normal((40, 1, 28, 28)).astype(np.float32) * 3
    for strength in STRENGTHS:
        added = sn.corruptions.noise(x, strength, np.random.default_rng(1)) - x
        assert added.std() == pytest.approx(0.2 * strength * x.std(), rel=0.02)
        assert abs(added.mean()) < 0.05 * added.std()


def test_blur_is_a_gaussian(images):
    distance = np.arange(-4, 5)
    kernel = np.exp(-(distance**2) / (2 * 1.0**2))
    expected = images.astype(np.float64)
    for axis in (2, 3):
        expected = convolve1d(expected, kernel / kernel.sum(), axis=axis, mode="constant")
    np.testing.assert_allclose(sn.corruptions.blur(images, 2, np.random.default_rng(0)), expected, atol=1e-5)


def test_contrast_occlusion_and_quantization_by_hand():
    x = np.array([[[[0.0, 1.0], [2.0, 3.0]]]], np.float32)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(
        sn.corruptions.contrast(x, 5, rng), [[[[1.35, 1.45], [1.55, 1.65]]]], rtol=1e-6
    )  # a tenth of the distance from 1.5
    ones = np.ones((50, 3, 20, 30), np.float32)
    for strength, side in zip(STRENGTHS, (2, 4, 6, 8, 10), strict=True):
        hidden = sn.corruptions.occlusion(ones, strength, rng) == 0
        assert (hidden.sum(axis=(2, 3)) == side**2).all()
        assert (hidden == hidden[:, :1]).all()  # all channels alike
    x = np.linspace(0, 1, 200, dtype=np.float32).reshape(1, 1, 10, 20)
    levels = [len(np.unique(sn.corruptions.quantization(x, strength, rng))) for strength in STRENGTHS]
    assert levels == [32, 16, 8, 4, 2]
    assert np.abs(sn.corruptions.quantization(x, 1, rng) - x).max() <= 0.5 / 31 + 1e-6


def test_a_constant_image_is_not_divided_by_nothing():
    x = np.full((2, 1, 4, 4), 0.5, np.float32)
    assert np.array_equal(sn.corruptions.quantization(x, 3, np.random.default_rng(0)), x)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_bad_strengths_and_inputs(images, name):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="strength must be"):
        CORRUPTIONS[name](images, 6, rng)
    with pytest.raises(ValueError, match="strength must be"):
        CORRUPTIONS[name](images, 0, rng)
    with pytest.raises((TypeError, ValueError), match="x of a corruption"):
        CORRUPTIONS[name](images[0], 1, rng)


def brightest_half(x):
    """A model that is known: which half of the image is the brighter one."""
    left, right = x[..., : x.shape[3] // 2], x[..., x.shape[3] // 2 :]
    return np.stack([left.sum(axis=(1, 2, 3)), right.sum(axis=(1, 2, 3))], axis=1)


def test_the_suite_on_a_model_that_is_known():
    x = np.zeros((30, 1, 20, 20), np.float32)
    y = np.arange(30) % 2
    for n in range(30):
        x[n, 0, 5:15, 2 + 11 * y[n] : 7 + 11 * y[n]] = 1
    result = sn.robustness(brightest_half, (x, y), reference=lambda x: -brightest_half(x))
    assert result.clean == 1.0
    assert result.agreement == 0.0
    assert set(result.corrupted) == set(CORRUPTIONS)
    assert result.corrupted["contrast"] == (1.0,) * 5
    assert result.corrupted["shift"] == (1.0,) * 5
    assert result.worst == min(map(min, result.corrupted.values()))
    assert result.mean == pytest.approx(np.mean([np.mean(each) for each in result.corrupted.values()]))
    assert "clean 100.00%" in str(result)
    assert "occlusion" in str(result)


def test_a_network_and_its_plan_are_judged_alike(rng):
    network = sn.models.lenet_5(seed=0)
    x, y = rng.random((20, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 20)
    plan = sn.compile(network, (1, 28, 28), batch=20, threads=1, form="csr")
    ours, theirs = (sn.robustness(model, (x, y), reference=network, threads=1) for model in (network, plan))
    assert ours.agreement == 1.0
    for name in ours.corrupted:
        np.testing.assert_allclose(ours.corrupted[name], theirs.corrupted[name], atol=0.051)  # a tie at most
    assert sn.robustness(network, (x, y), seed=1).corrupted != ours.corrupted


def test_calibration_by_hand():
    """Two at 0.6, one right; two at 0.9, both right; one at 0.5, wrong: (2 |0.5 - 0.6| + 2 |1 - 0.9| + 0.5) / 5."""
    p = np.array([0.6, 0.6, 0.9, 0.9, 0.5])
    logits = np.log(np.stack([p, 1 - p], axis=1))
    assert expected_calibration_error(logits, np.array([0, 1, 0, 0, 1])) == pytest.approx(0.18)


def test_calibration_against_a_loop(rng):
    logits, labels = rng.standard_normal((300, 5)), rng.integers(0, 5, 300)
    sure = np.exp(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).max(axis=1)
    right = logits.argmax(axis=1) == labels
    expected = 0.0
    for m in range(1, 11):
        inside = ((m - 1) / 10 < sure) & (sure <= m / 10)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert expected_calibration_error(logits, labels, bins=10) == pytest.approx(expected)


def test_agreement_and_bad_input(rng):
    logits = rng.standard_normal((8, 3))
    assert agreement(logits, 2 * logits + 1) == 1.0
    with pytest.raises(ValueError, match="others must be"):
        agreement(logits, logits[:4])
    with pytest.raises(ValueError, match="labels must be 8 integers"):
        expected_calibration_error(logits, np.zeros(3, int))
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error(logits, np.zeros(8, int), bins=0)


def test_rotation_is_by_eight_degrees_a_step_to_either_side(images):
    for strength in STRENGTHS:
        turned = sn.corruptions.rotation(images, strength, np.random.default_rng(0))
        sides = [sn.augment.rotate_by(images, np.full(len(images), side * 8.0 * strength)) for side in (-1, 1)]
        found = {side for n in range(len(images)) for side in (0, 1) if np.array_equal(turned[n], sides[side][n])}
        assert found == {0, 1}
        assert all(any(np.array_equal(turned[n], side[n]) for side in sides) for n in range(len(images)))


def test_an_occlusion_may_lie_anywhere():
    """A square of 3 in 6 x 5: four rows, three columns to begin at."""
    hidden = sn.corruptions.occlusion(np.ones((400, 1, 6, 5), np.float32), 5, np.random.default_rng(0))[:, 0] == 0
    side = round(0.5 * 5)
    begins = {tuple(np.argwhere(image)[0].tolist()) for image in hidden}
    assert begins == {(top, left) for top in range(6 - side + 1) for left in range(5 - side + 1)}


def test_quantization_by_hand_away_from_zero():
    """From 2 to 5 in two levels: below 3.5 becomes 2, above it 5; in four: 2, 3, 4, 5."""
    x = np.array([[[[2.0, 3.4, 3.6, 5.0]]]], np.float32)
    rng = np.random.default_rng(0)
    assert sn.corruptions.quantization(x, 5, rng).ravel().tolist() == [2, 2, 5, 5]
    assert sn.corruptions.quantization(x, 4, rng).ravel().tolist() == [2, 3, 4, 5]


def test_bins_by_hand():
    """In two bins, 0.4 (wrong) and 0.6 (right) lie apart: (0.4 + 0.4) / 2; in one they make up for each other."""
    logits = np.log(np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2]]))
    assert expected_calibration_error(logits, np.array([1, 0]), bins=2) == pytest.approx(0.4)
    assert expected_calibration_error(logits, np.array([1, 0]), bins=1) == pytest.approx(0.0, abs=1e-12)


def test_what_is_not_asked_for_is_not_said(rng):
    x, y = rng.random((4, 1, 8, 8)).astype(np.float32), np.array([0, 1, 0, 1])
    alone = sn.robustness(brightest_half, (x, y))
    assert alone.agreement is None
    assert "reference" not in str(alone)
    assert "as the reference's" in str(sn.robustness(brightest_half, (x, y), reference=brightest_half))


def test_fifteen_bins_unless_told(rng):
    logits, labels = 3 * rng.standard_normal((500, 4)), rng.integers(0, 4, 500)
    by_default, found = expected_calibration_error(logits, labels), {}
    for bins in (14, 15, 16):
        found[bins] = expected_calibration_error(logits, labels, bins=bins)
    assert by_default == found[15]
    assert len(set(found.values())) == 3


def test_logits_that_are_no_numbers():
    logits = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 1.0]])
    assert agreement(logits, logits) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="logits must be finite"):
        expected_calibration_error(logits, np.array([0, 1, 1]))


@pytest.mark.parametrize("y", [np.zeros((4, 1), np.float32), np.zeros((4, 1), int), np.zeros(4, np.float32)])
def test_a_regression_is_refused_before_anything_is_computed(rng, y):
    def model(x):
        raise AssertionError("called")

    with pytest.raises(ValueError, match=r"y of data must be integer labels \(N,\), not .* a regression has none"):
        sn.robustness(model, (rng.random((4, 1, 8, 8)).astype(np.float32), y))


def test_the_same_seed_corrupts_alike_for_every_model(rng):
    """What the models are shown, bit for bit; and another seed shows something else."""
    x, y = rng.random((5, 1, 8, 8)).astype(np.float32), np.array([0, 1, 0, 1, 0])

    def seen(seed):
        images = []
        sn.robustness(lambda x: images.append(x.copy()) or brightest_half(x), (x, y), seed=seed)
        return images

    first, again, other = seen(3), seen(3), seen(4)
    assert len(first) == 5 * len(CORRUPTIONS) + 1
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))
