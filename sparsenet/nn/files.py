"""Networks as files: a zip of plain arrays (NumPy's .npz) and a JSON header; nothing is ever unpickled.

A masked parameter is stored as its mask, one bit a weight, and the kept values only: a pruned network's file is small.
"""

import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from . import layers, normalization, pooling
from .layer import Layer, Parameter
from .network import Network, Node

FORMAT, VERSION = "sparsenet network", 1
LAYERS = {
    layer.__name__: layer
    for layer in (
        layers.Conv2d,
        layers.Linear,
        layers.ReLU,
        layers.Flatten,
        layers.Dropout,
        pooling.MaxPool2d,
        pooling.AvgPool2d,
        pooling.GlobalAvgPool2d,
        normalization.BatchNorm,
        normalization.WeightNorm,
    )
}
DAMAGE = (
    AttributeError,
    MemoryError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def save_network(path: str | Path, network: Network, *, state: bool = False) -> None:
    """Write the network to `path`, whole or not at all (a temporary file, then renamed).

    With `state` the optimiser's memory goes along, so that training resumed from the file gives the same bits.
    """
    header = {"format": FORMAT, "version": VERSION, "dtype": str(network.dtype), "nodes": _describe(network)}
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for name, parameter in network.parameters().items():
        arrays |= _pack(name, parameter)
        if state:
            arrays |= {f"{name}/state/{key}": _check_state(key, a, parameter) for key, a in parameter.state.items()}
    arrays |= network.buffers()
    write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays))


def load_network(path: str | Path) -> Network:
    """Read a network that `save_network` wrote.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no such file, damaged, or of a later version; nothing is half loaded.
    """
    with open(path, "rb") as raw:
        try:
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return _build(arrays)
        except DAMAGE as error:
            raise ValueError(f"{path} is not a sparsenet network, or it is damaged: {error}") from None


def bytes_by_layer(path: str | Path) -> dict[str, int]:
    """Bytes that each layer's arrays take in the file, and under "/" what is left (header, directory)."""
    sizes = {"/": Path(path).stat().st_size}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            layer = entry.filename.split(".")[0]
            if entry.filename != "header.npy":
                sizes[layer] = sizes.get(layer, 0) + entry.compress_size
                sizes["/"] -= entry.compress_size
    return sizes


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call write(binary file) on a temporary file beside `path`, then rename it; on any error `path` is untouched."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _describe(network: Network) -> list[dict]:
    return [
        {"name": node.name, "inputs": list(node.inputs), "layer": _describe_layer(node.layer)} for node in network.nodes
    ]


def _describe_layer(layer: Layer) -> dict:
    if LAYERS.get(type(layer).__name__) is not type(layer):
        raise TypeError(f"a {type(layer).__name__} layer cannot be saved: only the layers of sparsenet can")
    config = {key: _describe_layer(v) if isinstance(v, Layer) else v for key, v in layer.config().items()}
    return {"type": type(layer).__name__, "config": config}


def _build_layer(description: Mapping) -> Layer:
    config = description["config"].items()
    values = {
        key: _build_layer(v) if isinstance(v, dict) else tuple(v) if isinstance(v, list) else v for key, v in config
    }
    kind = LAYERS[description["type"]]
    if issubclass(kind, layers.Weighted) and kind is not normalization.WeightNorm:
        values["init"] = lambda shape, rng: np.zeros(shape, np.float32)
    return kind(**values)


def _pack(name: str, parameter: Parameter) -> dict[str, np.ndarray]:
    if parameter.mask is None:
        return {name: parameter.value}
    return {f"{name}/mask": np.packbits(parameter.mask), f"{name}/kept": parameter.value[parameter.mask]}


def _build(arrays: dict[str, np.ndarray]) -> Network:
    header = json.loads(arrays.pop("header").tobytes())
    if header["format"] != FORMAT or header["version"] != VERSION:
        raise ValueError(f"it is {header['format']!r} version {header['version']}, expected {FORMAT!r} {VERSION}")
    dtype = np.dtype(header["dtype"])
    nodes = [Node(n["name"], _build_layer(n["layer"]), tuple(n["inputs"])) for n in header["nodes"]]
    network = Network(nodes)
    _check_sizes(network, arrays)
    network = network.astype(dtype)
    for name, parameter in network.parameters().items():
        _unpack(name, parameter, arrays)
    for name, buffer in network.buffers().items():
        buffer[...] = _take(arrays, name, buffer.shape, dtype)
    for layer in network.weighted().values():
        if isinstance(layer, normalization.WeightNorm):
            layer.layer.weight.mask = layer.direction.mask
    if arrays:
        raise ValueError(f"it holds unknown arrays: {', '.join(sorted(arrays))}")
    return network


def _unpack(name: str, parameter: Parameter, arrays: dict[str, np.ndarray]) -> None:
    shape, dtype = parameter.value.shape, parameter.value.dtype
    if f"{name}/mask" in arrays:
        bits = _take(arrays, f"{name}/mask", (-(-parameter.value.size // 8),), np.dtype(np.uint8))
        parameter.mask = np.unpackbits(bits, count=parameter.value.size).astype(bool).reshape(shape)
        parameter.value[...] = 0
        parameter.value[parameter.mask] = _take(arrays, f"{name}/kept", (int(parameter.mask.sum()),), dtype)
    else:
        parameter.value[...] = _take(arrays, name, shape, dtype)
    prefix = f"{name}/state/"
    for key in [key for key in arrays if key.startswith(prefix)]:
        array = _check_state(key, arrays.pop(key), parameter)
        parameter.state[key.removeprefix(prefix)] = array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_state(name: str, array: np.ndarray, parameter: Parameter) -> np.ndarray:
    if array.shape not in ((), parameter.value.shape) or array.dtype.kind not in "fiu":
        raise ValueError(
            f"state {name!r} must be a number or shaped like its parameter, not {array.dtype} {array.shape}"
        )
    return array


def _check_sizes(network: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Compare what the header announces with what is there, before any of it is worked on."""
    for name, parameter in network.parameters().items():
        shape = parameter.value.shape
        stored, expected = (
            (f"{name}/mask", (-(-parameter.value.size // 8),)) if f"{name}/mask" in arrays else (name, shape)
        )
        if arrays[stored].shape != expected:
            raise ValueError(f"the header announces {name!r} of shape {shape}, which the arrays do not have")


def _take(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = arrays.pop(name)
    if array.shape != shape or array.dtype.newbyteorder("=") != dtype:
        raise ValueError(f"array {name!r} is {array.dtype} {array.shape}, expected {dtype} {shape}")
    return array.astype(dtype, copy=False)
