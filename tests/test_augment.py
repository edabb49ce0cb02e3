"""Augmentation: shifts, mirror images and rotations by hand, their distributions, what they keep, errors."""

import numpy as np
import pytest
from scipy import ndimage

from sparsenet.nn.augment import compose, flip, noise, rotate, rotate_by, shift

EVERY = (shift(2), flip(), rotate(30), noise(0.5), compose(shift(1), flip()))


class Drawn:
    """A generator that gives what the test says."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def integers(self, *bounds, size=None):
        answer = np.array(self.answers.pop(0))
        assert answer.shape == (size if isinstance(size, tuple) else (size,))
        return answer

    def uniform(self, low, high, size):
        return low + (high - low) * self.random(size)

    def standard_normal(self, shape, dtype):
        answer = np.array(self.answers.pop(0), dtype)
        assert answer.shape == shape
        return answer

    def random(self, size):
        answer = np.array(self.answers.pop(0))
        assert answer.shape == (size,)
        return answer


IMAGE = np.arange(1.0, 10).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9


@pytest.mark.parametrize(
    ("down", "right", "expected"),  # 0 ... 2 pixels, which is -1 ... 1 of what is read
    [
        (1, 1, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (0, 1, [[0, 0, 0], [1, 2, 3], [4, 5, 6]]),
        (2, 1, [[4, 5, 6], [7, 8, 9], [0, 0, 0]]),
        (1, 2, [[2, 3, 0], [5, 6, 0], [8, 9, 0]]),
        (0, 0, [[0, 0, 0], [0, 1, 2], [0, 4, 5]]),
    ],
)
def test_shifts_by_hand(down, right, expected):
    y = shift(1)(IMAGE, Drawn([[down], [right]]))
    assert y.tolist() == [[expected]]


def test_each_sample_has_its_own_shift_and_its_channels_share_it():
    x = np.concatenate([np.concatenate([IMAGE, 10 * IMAGE], axis=1)] * 2)
    y = shift(1)(x, Drawn([[1, 0], [1, 1]]))
    assert y[0].tolist() == x[0].tolist()
    assert y[1].tolist() == [[[0, 0, 0], [1, 2, 3], [4, 5, 6]], [[0, 0, 0], [10, 20, 30], [40, 50, 60]]]


def test_mirror_images_by_hand():
    x = np.concatenate([IMAGE, IMAGE, IMAGE])
    y = flip()(x, Drawn([0.49, 0.5, 0.0]))
    mirrored = [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert y[:, 0].tolist() == [mirrored, IMAGE[0, 0].tolist(), mirrored]


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (90, [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),  # anticlockwise: the right column becomes the upper row
        (-90, [[7, 4, 1], [8, 5, 2], [9, 6, 3]]),
        (180, [[9, 8, 7], [6, 5, 4], [3, 2, 1]]),
        (360, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    ],
)
def test_quarter_turns_by_hand(degrees, expected):
    np.testing.assert_allclose(rotate_by(IMAGE, np.array([degrees])), [[expected]], atol=1e-12)


def test_an_eighth_of_a_turn_by_hand():
    """Corners of the result lie outside; the middle of its upper row is read half-way to the upper right corner.

    With r = sqrt(1/2): (h, w) = (-1, 0) is read at (-r, r) from the centre, bilinearly of 2, 3, 5, 6 with r and 1 - r.
    """
    r = np.sqrt(0.5)
    y = rotate_by(IMAGE, np.array([45.0]))[0, 0]
    s = 1 - r
    assert y[1, 1] == pytest.approx(5)
    assert y[0, 1] == pytest.approx(r * s * 2 + r * r * 3 + s * s * 5 + s * r * 6)
    # (-1, -1) is read at (-2r, 0): between row -1 of the centre, the 2, and the zeros above it
    assert y[0, 0] == pytest.approx((2 - 2 * r) * 2)


@pytest.mark.parametrize("shape", [(3, 2, 7, 7), (2, 1, 6, 9), (2, 3, 1, 4), (1, 1, 5, 1)])
def test_rotations_agree_with_scipy(rng, shape):
    x, degrees = rng.standard_normal(shape), rng.uniform(-180, 180, shape[0])
    y = rotate_by(x, degrees)
    for image, angle, turned in zip(x, np.radians(degrees), y, strict=True):
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = (np.array(shape[2:]) - 1) / 2
        for channel, result in zip(image, turned, strict=True):
            # zeros around it: SciPy's edge is where the image ends, ours one pixel farther, where it has faded
            wide = np.pad(channel, 12)
            expected = ndimage.affine_transform(wide, matrix, centre + 12 - matrix @ (centre + 12), order=1)
            np.testing.assert_allclose(result, expected[12:-12, 12:-12], atol=1e-10)


def test_random_numbers_take_every_value_as_often():
    """One pixel in the middle of 20,000 images: where it lands, and how often."""
    x = np.zeros((20_000, 1, 5, 5), np.float32)
    x[:, 0, 2, 2] = 1
    landed = shift(2)(x, np.random.default_rng(0)).sum((0, 1))
    assert landed.sum() == 20_000
    assert np.abs(landed - 800).max() < 5 * np.sqrt(800 * 24 / 25)
    x = np.zeros((20_000, 1, 1, 3), np.float32)
    x[:, 0, 0, 0] = 1
    left, _, right = flip()(x, np.random.default_rng(0)).sum((0, 1, 2))
    assert left + right == 20_000
    assert abs(left - 10_000) < 5 * np.sqrt(5_000)


def test_rotations_stay_within_their_bounds():
    """The angle of a pixel beside the centre, read from the centre of what it has become."""
    x = np.zeros((2_000, 1, 41, 41))
    x[:, 0, 20, 40] = 1
    y = rotate(20)(np.ascontiguousarray(x), np.random.default_rng(0))[:, 0]
    h, w = np.mgrid[:41, :41] - 20
    total = y.sum((1, 2))
    angles = np.degrees(np.arctan2(-(y * h).sum((1, 2)) / total, (y * w).sum((1, 2)) / total))
    assert np.abs(angles).max() < 21.5  # the pixel itself is 1.4 degrees wide
    assert angles.max() > 18
    assert angles.min() < -18
    assert abs(angles.mean()) < 5 * 20 / np.sqrt(3 * 2_000)


@pytest.mark.parametrize("augment", EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_type_and_x_are_kept(rng, augment, dtype):
    x = rng.standard_normal((6, 3, 8, 5)).astype(dtype)
    kept = x.copy()
    y = augment(x, np.random.default_rng(1))
    assert (y.shape, y.dtype, y.flags.c_contiguous) == (x.shape, x.dtype, True)
    assert np.array_equal(x, kept)
    assert not np.shares_memory(x, y)
    assert np.array_equal(augment(x, np.random.default_rng(1)), y)
    assert not np.array_equal(augment(x, np.random.default_rng(2)), y)
    assert augment(x[:0], np.random.default_rng(1)).shape == (0, 3, 8, 5)


def test_composed_functions_run_in_order():
    def double(x, rng):
        return 2 * x

    def add_drawn(x, rng):
        return x + rng.random(1)

    assert compose(double, add_drawn, add_drawn)(np.ones(1), Drawn([5.0], [7.0])).tolist() == [14]
    assert compose(add_drawn, double)(np.ones(1), Drawn([5.0])).tolist() == [12]
    assert compose()(IMAGE, None) is IMAGE


@pytest.mark.parametrize("augment", [shift(2), flip(), rotate(30), noise(0.5)])
def test_other_than_images_is_refused(rng, augment):
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\), must have 4 dimensions, not shape \(3, 4\)"):
        augment(rng.random((3, 4)), rng)
    with pytest.raises(TypeError, match="must be float32 or float64, not uint8"):
        augment(np.zeros((1, 1, 2, 2), np.uint8), rng)


def test_four_pixels_fifteen_degrees_and_a_fifth_unless_told(rng):
    x = rng.standard_normal((8, 1, 12, 12))
    for default, told in ((shift(), shift(4)), (rotate(), rotate(15)), (noise(), noise(0.2))):
        assert np.array_equal(default(x, np.random.default_rng(3)), told(x, np.random.default_rng(3)))


def test_half_a_turn_and_no_noise_are_allowed():
    rotate(180)
    rotate(0)
    assert np.array_equal(noise(0)(IMAGE, np.random.default_rng(0)), IMAGE)


def test_noise_by_hand():
    """Strengths of 0.25 and 0.75 of 2, the same in both channels of an image."""
    x, e = np.ones((2, 2, 1, 2)), [[[[1.0, -1.0]], [[0.0, 2.0]]], [[[1.0, 0.0]], [[-1.0, 4.0]]]]
    y = noise(2)(x, Drawn([0.25, 0.75], e))
    assert y.tolist() == [[[[1.5, 0.5]], [[1.0, 2.0]]], [[[2.5, 1.0]], [[-0.5, 7.0]]]]


def test_noise_is_as_strong_as_it_says():
    """Deviations of the images are uniform in [0, 0.5]; a normal number exceeds 2 in 2.3 % of all pixels."""
    e = noise(0.5)(np.zeros((2_000, 1, 20, 20)), np.random.default_rng(0))
    strengths = e.std((1, 2, 3))
    assert strengths.mean() == pytest.approx(0.25, abs=5 * 0.5 / np.sqrt(12 * 2_000))
    assert strengths.max() < 0.5 * 1.2
    assert np.quantile(strengths, [0.25, 0.75]) == pytest.approx([0.125, 0.375], abs=0.03)
    assert (e / strengths[:, None, None, None] > 2).mean() == pytest.approx(0.0228, abs=0.001)


def test_wrong_settings_are_refused():
    for pixels, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="pixels"):
            shift(pixels)
    for degrees, error in ((-1, ValueError), (181, ValueError), (np.nan, ValueError), ("15", TypeError)):
        with pytest.raises(error, match="degrees"):
            rotate(degrees)
    for deviation, error in ((-0.1, ValueError), (np.nan, ValueError), (np.inf, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="deviation"):
            noise(deviation)
    with pytest.raises(TypeError, match="compose takes functions"):
        compose(flip(), 3)
