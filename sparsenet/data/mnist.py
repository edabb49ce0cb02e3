"""MNIST and Fashion-MNIST: IDX files from a folder, else downloaded from one of several mirrors."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from . import idx, sources

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
COUNTS = {"train": 60_000, "t10k": 10_000}

# name -> (mirrors, MD5 of the published .gz files, MD5 of the uncompressed files where they are known)
SOURCES = {
    "mnist": (
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion_mnist": (
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (None, None, None, None),
    ),
}

Arrays = tuple[np.ndarray, np.ndarray]


def load(name: str, *, folder: str | Path | None = None, download: bool = True) -> tuple[Arrays, Arrays, str]:
    """((train images, labels), (test images, labels), check): images (N, 1, 28, 28) uint8, labels int64.

    The check is "checksum", or "structure" (counts, shapes and labels) where the folder's files have no known checksum.
    """
    folder = sources.data_folder(folder)
    _, _, sums = SOURCES[name]
    arrays, check = [], "checksum"
    for file, md5 in zip(FILES, sums, strict=True):
        path = sources.find_file(folder, [f"{name}/{file}", f"{name}/{file}.gz"])
        if path is not None and md5 is None:
            check = "structure"
        arrays.append(_read(path or _download(name, file, folder, download), file, md5))
    images = [array[:, None] for array in arrays[::2]]
    labels = [array.astype(np.int64) for array in arrays[1::2]]
    return (images[0], labels[0]), (images[1], labels[1]), check


def scale(images: np.ndarray) -> np.ndarray:
    """Images of uint8 as float32 in [0, 1]: x / 255."""
    return images.astype(np.float32) / np.float32(255)


def _download(name: str, file: str, folder: Path | None, allowed: bool) -> Path:
    """Fetch the published .gz."""
    mirrors, sums, _ = SOURCES[name]
    advice = sources.advise(name, f"the four IDX files of {name!r}", folder, f"{file}[.gz]")
    return sources.download(name, f"{file}.gz", mirrors, sums[FILES.index(file)], advice, allowed=allowed)


def _read(path: Path, file: str, md5: str | None) -> np.ndarray:
    """The array in an IDX file, checked: what an MNIST file must be, and its checksum where one is known."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is truncated or corrupt ({error}): delete it and get it again") from None
    array = idx.parse(content, str(path))
    count = COUNTS[file.split("-")[0]]
    shape = (count, 28, 28) if "images" in file else (count,)
    if array.dtype != np.uint8 or array.shape != shape:
        raise ValueError(f"{path} is the wrong file: it holds {array.dtype} {array.shape}, expected uint8 {shape}")
    if "labels" in file and array.max() > 9:
        raise ValueError(f"{path} is the wrong file: it holds label {array.max()}, expected 0..9")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(f"{path} is the wrong file or was altered: MD5 of its content {found}, expected {md5}")
    return array
