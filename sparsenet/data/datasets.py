"""`load_dataset`: each data set by its name, split into train, validation and test once and for all."""

import gzip
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checks import check_count, check_data, check_float_array
from . import cifar10, mnist

DATASETS = ("digits", *mnist.SOURCES, cifar10.NAME)
EVERY = {**dict.fromkeys(mnist.SOURCES, 12), cifar10.NAME: 10}  # of each class, every such image goes to validation
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Samples x (N, C, H, W) or (N, features), here float32, and their labels y (N,), integers."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A named data set in three parts: train on the first, choose on the second, report the third.

    Each part is a `Split`, or a pair (x, y) that becomes one. The arrays are kept, not copied. `check` says how the
    files were checked: "checksum" (the published ones), "structure" (what such files must be), or "" (no files).
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    check: str = ""

    def __post_init__(self):
        check_count("classes", self.classes)
        for part in PARTS:
            split = Split(*check_data(part, getattr(self, part)))
            object.__setattr__(self, part, split)
            check_float_array(f"x of {part}", split.x)
            if split.x.shape[1:] != self.input_shape:
                raise ValueError(
                    f"x of {part} must be of shape {self.input_shape}, as in train, not {split.x.shape[1:]}"
                )
            if split.y.ndim != 1 or split.y.dtype.kind not in "iu":
                raise ValueError(f"y of {part} must be integer labels (N,), not {split.y.dtype} of {split.y.shape}")
            if split.y.min() < 0 or split.y.max() >= self.classes:
                low, high = split.y.min(), split.y.max()
                raise ValueError(f"y of {part} must be in 0..{self.classes - 1} (classes), not {low}..{high}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample: (channels, height, width) of an image."""
        return self.train.x.shape[1:]


def load_dataset(name: str = "digits", *, folder: str | Path | None = None, download: bool = True) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : "digits", "mnist", "fashion_mnist" or "cifar10"
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
    Grey images are in [0, 1]. CIFAR-10's have mean 0 and variance 1 over the training part, channel by channel. Of each
    class the last of every 12 images (CIFAR-10: 10, which leaves 45,000 and 5,000) is for validation.
    """
    if name == "digits":
        return _digits()
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


def _digits() -> Dataset:
    """UCI digits, enlarged to 28x28: of each class three fifths to train, a fifth to validate, a fifth to test."""
    with files(__package__).joinpath("digits.csv.gz").open("rb") as packed, gzip.open(packed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.int64)
    x, y = enlarge(table[:, :-1].reshape(-1, 8, 8) / 16)[:, None], table[:, -1]
    fifth = positions_in_class(y) % 5
    parts = (fifth < 3, fifth == 3, fifth == 4)
    return Dataset("digits", *(Split(np.ascontiguousarray(x[part]), y[part]) for part in parts), classes=10)


def enlarge(images: np.ndarray, factor: int = 3, border: int = 2) -> np.ndarray:
    """Bilinear enlargement of square images (N, s, s), with a border of zeros: 8 -> 3 * 8 + 2 * 2 = 28.

    Notes
    -----
    out = A image A^T. Row a of A interpolates linearly at u = (a + 1/2) / factor - 1/2, the centre of the new pixel in
    the old grid (clipped to it): A[a, i] = max(0, 1 - |u - i|).
    """
    size = images.shape[1]
    centres = np.clip((np.arange(factor * size) + 0.5) / factor - 0.5, 0, size - 1)
    matrix = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(size)))
    large = matrix @ images @ matrix.T
    return np.pad(large, ((0, 0), (border, border), (border, border))).astype(np.float32)
