"""`load_dataset`: each data set by its name, split into train, validation and test once and for all."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checks import check_count, check_data, check_float_array
from . import cifar10, digits, mnist

DATASETS = (digits.NAME, digits.ANGLE, *mnist.SOURCES, cifar10.NAME)
EVERY = {**dict.fromkeys(mnist.SOURCES, 12), cifar10.NAME: 10}  # of each class, every such image goes to validation
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Samples x (N, C, H, W) or (N, features), here float32, and y: integer labels (N,) or float targets (N, K)."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A named data set in three parts: train on the first, choose on the second, report the third.

    Each part is a `Split`, or a pair (x, y) that becomes one. The arrays are kept, not copied.

    Attributes
    ----------
    classes : int or None
        Labels are 0 ... classes - 1. None for a regression: y holds finite floats (N, K).
    check : str
        How the files were checked: "checksum" (the published ones), "structure" (what such files must be), or "" (no
        files).
    unit : str
        Of a regression: what a target of 1 is.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int | None = None
    check: str = ""
    unit: str = ""

    def __post_init__(self):
        if self.classes is not None:
            check_count("classes", self.classes)
        for part in PARTS:
            split = Split(*check_data(part, getattr(self, part)))
            object.__setattr__(self, part, split)
            check_float_array(f"x of {part}", split.x)
            if split.x.shape[1:] != self.input_shape:
                raise ValueError(
                    f"x of {part} must be of shape {self.input_shape}, as in train, not {split.x.shape[1:]}"
                )
            self._check_targets(part, split.y) if self.classes is None else self._check_labels(part, split.y)

    def _check_labels(self, part: str, y: np.ndarray) -> None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ValueError(f"y of {part} must be integer labels (N,), not {y.dtype} of {y.shape}")
        if y.min() < 0 or y.max() >= self.classes:
            raise ValueError(f"y of {part} must be in 0..{self.classes - 1} (classes), not {y.min()}..{y.max()}")

    def _check_targets(self, part: str, y: np.ndarray) -> None:
        if y.dtype.kind != "f" or y.ndim != 2 or y.shape[1] != self.train.y.shape[-1]:
            raise ValueError(
                f"y of {part} must be float targets (N, K), the same K in all parts, not {y.dtype} of {y.shape} "
                "(integer labels need classes)"
            )
        if not np.isfinite(y).all():
            raise ValueError(f"y of {part} must hold finite numbers, not NaN or infinity")

    @property
    def outputs(self) -> int:
        """Width of a network's last layer: the classes, or the numbers that a regression is after."""
        return self.train.y.shape[1] if self.classes is None else self.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample: (channels, height, width) of an image."""
        return self.train.x.shape[1:]


def load_dataset(name: str = "digits", *, folder: str | Path | None = None, download: bool = True) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : "digits", "digits_angle", "mnist", "fashion_mnist" or "cifar10"
    folder : path, optional
        Data folder with a sub-folder per data set (`mnist/train-images-idx3-ubyte.gz` ..., `cifar10/data_batch_1.bin`
        ... or `cifar10/cifar-10-binary.tar.gz`); the environment variable SPARSENET_DATA unless given. The digits need
        none.
    download : bool
        Whether missing files may be downloaded (needs the `app` extra) into the user's cache folder.

    Raises
    ------
    ValueError
        For an unknown name, and for a file that is truncated, corrupt or not what it should be.
    FileNotFoundError
        Where there is neither file nor network; the message says what to do.

    Notes
    -----
    digits_angle is a regression: each of the digits is turned by up to 45 degrees to either side, y (N, 1) is the angle
    in units of 45 degrees (see `digits.turn`).

    Grey images are in [0, 1]. CIFAR-10's have mean 0 and variance 1 over the training part, channel by channel. Of each
    class the last of every 12 images (CIFAR-10: 10, which leaves 45,000 and 5,000) is for validation.
    """
    if name in (digits.NAME, digits.ANGLE):
        return _digits(name)
    if name not in EVERY:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, not {name!r}")
    if name == cifar10.NAME:
        (train_x, train_y), test, check = cifar10.load(folder=folder, download=download)
    else:
        (train_x, train_y), test, check = mnist.load(name, folder=folder, download=download)
    held_out = positions_in_class(train_y) % EVERY[name] == EVERY[name] - 1
    train, validation = ((train_x[part], train_y[part]) for part in (~held_out, held_out))
    scale = cifar10.standardizer(train[0]) if name == cifar10.NAME else mnist.scale
    parts = (Split(scale(x), y) for x, y in (train, validation, test))
    return Dataset(name, *parts, classes=10, check=check)


def positions_in_class(labels: np.ndarray) -> np.ndarray:
    """k for the k-th sample of its class, in order: a rule on it gives a stratified split without any randomness."""
    positions = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        positions[members] = np.arange(len(members))
    return positions


def _digits(name: str) -> Dataset:
    """UCI digits, enlarged to 28x28: of each class three fifths to train, a fifth to validate, a fifth to test."""
    x, labels = digits.load()
    regression = name == digits.ANGLE
    x, y = digits.turn(x) if regression else (x, labels)
    fifth = positions_in_class(labels) % 5
    parts = (Split(np.ascontiguousarray(x[part]), y[part]) for part in (fifth < 3, fifth == 3, fifth == 4))
    if regression:
        return Dataset(name, *parts, unit=f"{digits.MOST} degrees")
    return Dataset(name, *parts, classes=10)
