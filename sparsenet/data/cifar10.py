"""CIFAR-10 in its binary version: six files from a folder, or the published archive, from there or downloaded.

A record is a label byte and 3,072 bytes: red, green and blue planes of 32 x 32 pixels, row by row (Krizhevsky 2009).
"""

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import sources

NAME = "cifar10"
ARCHIVE, INSIDE = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
RECORDS, CLASSES = 10_000, 10  # records of each file
SHAPE = (3, 32, 32)
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as published; sums of the single files are not

Arrays = tuple[np.ndarray, np.ndarray]


def load(*, folder: str | Path | None = None, download: bool = True) -> tuple[Arrays, Arrays, str]:
    """((train images, labels), (test images, labels), check): images (N, 3, 32, 32) uint8, labels int64.

    The check is "checksum" where the files come from the archive, and "structure" where they lie in the folder: then
    their sizes, the labels and the number of images of each class are checked, and that no two files are the same.
    """
    folder = sources.data_folder(folder)
    paths = _single_files(folder)
    if paths:
        contents, check = {str(path): path.read_bytes() for path in paths}, "structure"
    else:
        contents, check = _read_archive(_find_archive(folder, download)), "checksum"
    if len(set(contents.values())) < len(contents):
        raise ValueError(f"two of {', '.join(contents)} hold the same: one stands in the place of another")
    parts = [_parse(name, content) for name, content in contents.items()]
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    for where, labels in ((f"the files {FILES[0]} to {FILES[-2]}", train[1]), (FILES[-1], parts[-1][1])):
        _check_classes(f"{where} of {Path(next(iter(contents))).parent}", labels)
    return train, parts[-1], check


def standardizer(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function that brings images (N, C, H, W) of uint8 to mean 0 and variance 1 of `images`, channel by channel.

    Notes
    -----
    y[n,c,h,w] = (x[n,c,h,w] - m[c]) / s[c],  m[c] = mean of images[:,c],  s[c]^2 = mean of (images[:,c] - m[c])^2

    m and s in float64 from the counts of the 256 values, the result float32.

    >>> scale = standardizer(np.array([[[[1, 3]]], [[[1, 3]]]], np.uint8))
    >>> scale(np.array([[[[1, 2, 3, 4]]]], np.uint8))
    array([[[[-1.,  0.,  1.,  2.]]]], dtype=float32)
    """
    values, tables = np.arange(256), []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1), minlength=256)
        mean = counts @ values / counts.sum()
        variance = counts @ (values - mean) ** 2 / counts.sum()
        if variance == 0:
            raise ValueError(f"channel {channel} of the images has one value everywhere: they cannot be standardised")
        tables.append(((values - mean) / np.sqrt(variance)).astype(np.float32))
    return lambda x: np.stack([table[x[:, channel]] for channel, table in enumerate(tables)], axis=1)


def _single_files(folder: Path | None) -> list[Path]:
    """The six files in the data folder, none where there is none of them; an error where some are missing."""
    places = [f"{NAME}", f"{NAME}/{INSIDE}"]
    found = {file: sources.find_file(folder, [f"{place}/{file}" for place in places]) for file in FILES}
    missing = [file for file, path in found.items() if path is None]
    if 0 < len(missing) < len(FILES):
        raise FileNotFoundError(f"{folder}/{NAME}/ holds some of CIFAR-10's files, but not {', '.join(missing)}")
    return [] if missing else list(found.values())


def _find_archive(folder: Path | None, download: bool) -> Path:
    """The archive with the published checksum: in the data folder, else downloaded."""
    path = sources.find_file(folder, [f"{NAME}/{ARCHIVE}"])
    if path is None:
        what = f"{ARCHIVE}, or the six files of CIFAR-10's binary version ({FILES[0]} ...),"
        advice = sources.advise(NAME, what, folder, FILES[0])
        return sources.download(NAME, ARCHIVE, MIRRORS, MD5, advice, allowed=download)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != MD5:
        raise ValueError(f"{path} is truncated, altered or the wrong file: its MD5 is {found}, expected {MD5}")
    return path


def _read_archive(path: Path) -> dict[str, bytes]:
    """The contents of the six files by name, read in memory: nothing is unpacked, so no name can lead elsewhere."""
    with tarfile.open(path, "r:gz") as archive:
        contents = {
            member.name: archive.extractfile(member).read()
            for member in archive
            if member.isfile() and member.name in {f"{INSIDE}/{file}" for file in FILES}
        }
    return {f"{path}/{INSIDE}/{file}": contents[f"{INSIDE}/{file}"] for file in FILES}


def _parse(name: str, content: bytes) -> Arrays:
    """(images, labels) of the records of one file."""
    size = 1 + int(np.prod(SHAPE))
    if len(content) != RECORDS * size:
        word = "truncated" if len(content) < RECORDS * size else "too long"
        raise ValueError(f"{name} is {word}: {len(content)} bytes, expected {RECORDS} records of {size}")
    records = np.frombuffer(content, np.uint8).reshape(RECORDS, size)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= CLASSES:
        raise ValueError(f"{name} is the wrong file: it holds label {labels.max()}, expected 0..{CLASSES - 1}")
    return records[:, 1:].reshape(RECORDS, *SHAPE), labels


def _check_classes(where: str, labels: np.ndarray) -> None:
    """Each class has as many images: 5,000 for training, 1,000 for the test."""
    counts = np.bincount(labels, minlength=CLASSES)
    if (counts != len(labels) // CLASSES).any():
        raise ValueError(
            f"{where}: not CIFAR-10, the classes have {counts.tolist()} images instead of {len(labels) // CLASSES} each"
        )
