"""Networks as files, small when pruned and exact: a zip of a JSON header, the arrays, and a checksum of both.

    header.json   format, version, type of the numbers, the layers, and of each array its form and section sizes
    arrays.bin    all sections one after the other, as `codecs` makes them, in the order of the header
    sha256        SHA-256 of the header's length (8 bytes, little-endian), the header and the arrays

A masked parameter is stored as its mask and the kept values only. Values of which few differ, as in a quantised layer,
are a codebook and a code each where that is smaller; every bit is read back, for nothing is rounded here. Nothing is
ever unpickled, and nothing is built before the checksum is right.
"""

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..checks import FLOATS, check_count
from ..nn import layers, merge, normalization, pooling
from ..nn.layer import Layer, Shape
from ..nn.network import Network, Node
from ..nn.parameter import Parameter
from .atomic_write import check_path, write_atomically
from .codebooks import decode_values, encode_values, most_values
from .codecs import Section, decode_mask, encode_mask, longest_mask, unpack

FORMAT, VERSION = "sparsenet network", 3
READ = (2, 3)  # version 3 added codebooks
HEADER, ARRAYS, DIGEST = "header.json", "arrays.bin", "sha256"
PARTS = {HEADER: zipfile.ZIP_DEFLATED, ARRAYS: zipfile.ZIP_STORED, DIGEST: zipfile.ZIP_STORED}
LARGEST_HEADER = 1 << 24  # bytes: tens of thousands of layers
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
        merge.Add,
        merge.Concat,
        merge.PadShortcut,
        normalization.BatchNorm,
        normalization.WeightNorm,
    )
}
DAMAGE = (
    AttributeError,
    MemoryError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class OtherVersionError(ValueError):
    """A network file, but not of the version that is read here."""


class Stored(NamedTuple):
    """An array as the file has it: its form, the code of its mask, kind and bytes of its values, for state its type."""

    form: str
    code: bytes
    kind: str
    values: list[bytes]
    note: Mapping[str, Any]


def save_network(path: str | Path, network: Network, *, state: bool = False) -> None:
    """Write the network to `path`, whole or not at all (see `write_atomically`).

    Every mask and every kept value is read back bit for bit; what a mask prunes is read back as 0. With `state` the
    optimiser's memory goes along, so that training resumed from the file gives the same bits.
    """
    check_path(path)
    header, packed = _serialize(network, state)
    write_atomically(path, lambda file: _write(file, header, packed))


def load_network(path: str | Path) -> Network:
    """Read a network that `save_network` wrote.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no such file, damaged, or of another version; nothing is half loaded.
    """
    with open(path, "rb") as file, _errors_of(path):
        header, packed = _read(file)
        return _build(header, _split(header["arrays"], packed))


def bytes_by_layer(path: str | Path) -> dict[str, int]:
    """Bytes that each layer's arrays take in the file, and under "/" what is left (header, checksum, directory)."""
    with open(path, "rb") as file, _errors_of(path):
        return _sizes(file)


def count_bytes(network: Network) -> dict[str, int]:
    """What `bytes_by_layer` would say of the network's file; none is written."""
    file = io.BytesIO()
    _write(file, *_serialize(network, state=False))
    return _sizes(file)


def _sizes(file: BinaryIO) -> dict[str, int]:
    header, packed = _read(file)
    sizes = Counter({"/": file.seek(0, io.SEEK_END) - len(packed)})
    for name, note in header["arrays"].items():
        sizes[_layer_of(name)] += sum(length for _, length in note["sections"])
    return dict(sizes)


def _layer_of(name: str) -> str:
    return name.split(".")[0]


@contextmanager
def _errors_of(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong in reading becomes one kind of error, which names the file."""
    try:
        yield
    except OtherVersionError as error:
        raise ValueError(f"{path} {error}") from None
    except DAMAGE as error:
        raise ValueError(f"{path} is not a sparsenet network, or it is damaged: {error}") from None


def _serialize(network: Network, state: bool) -> tuple[bytes, bytes]:
    """(header, arrays) of the network's file."""
    _check_types(network)
    arrays = {name: _encode(buffer) for name, buffer in network.buffers().items()}
    for name, parameter in network.parameters().items():
        arrays[name] = _encode(parameter.value, parameter.mask)
        if state:
            arrays |= {f"{name}/state/{key}": _encode_state(key, a, parameter) for key, a in parameter.state.items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": network.dtype.name,
        "nodes": _describe(network),
        "arrays": {
            name: note | {"sections": [[section.size, len(section.packed)] for section in sections]}
            for name, (note, sections) in arrays.items()
        },
    }
    packed = b"".join(section.packed for _, sections in arrays.values() for section in sections)
    return json.dumps(header, separators=(",", ":")).encode(), packed


def _write(file: BinaryIO, header: bytes, packed: bytes) -> None:
    contents = {HEADER: header, ARRAYS: packed, DIGEST: _digest(header, packed)}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, PARTS[name])  # without the date: the same bytes each time


def _digest(header: bytes, packed: bytes) -> bytes:
    digest = hashlib.sha256(len(header).to_bytes(8, "little"))
    digest.update(header)
    digest.update(packed)
    return digest.digest()


def _read(file: BinaryIO) -> tuple[dict, bytes]:
    """(header, arrays), once format, version and checksum are right."""
    with zipfile.ZipFile(file) as archive:
        parts = {info.filename: info for info in archive.infolist()}
        if "header.npy" in parts:
            raise _other_version(1)
        if {name: info.compress_type for name, info in parts.items()} != PARTS:
            raise ValueError(f"its parts are not {', '.join(PARTS)}")
        if parts[HEADER].file_size > LARGEST_HEADER:
            raise ValueError(f"its header of {parts[HEADER].file_size} bytes is too long")
        text = archive.read(HEADER)
        header = json.loads(text)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
        if header["version"] not in READ:
            raise _other_version(header["version"])
        packed = archive.read(ARRAYS)
        if archive.read(DIGEST) != _digest(text, packed):
            raise ValueError("its content does not have the SHA-256 that it was written with")
    return header, packed


def _other_version(version: Any) -> OtherVersionError:
    known = " and ".join(map(str, READ))
    return OtherVersionError(f"is a sparsenet network file of version {version}; this sparsenet reads versions {known}")


def _describe(network: Network) -> list[dict]:
    return [
        {"name": node.name, "inputs": list(node.inputs), "layer": _describe_layer(node.layer)} for node in network.nodes
    ]


def _describe_layer(layer: Layer) -> dict:
    if LAYERS.get(type(layer).__name__) is not type(layer):
        raise TypeError(f"a {type(layer).__name__} layer cannot be saved: only the layers of sparsenet can")
    config = {key: _describe_layer(v) if isinstance(v, Layer) else v for key, v in layer.config().items()}
    return {"type": type(layer).__name__, "config": config}


def _check_types(network: Network) -> None:
    """Refuse to write what could not be read: a network has one type of numbers."""
    arrays = {name: parameter.value for name, parameter in network.parameters().items()} | network.buffers()
    for name, array in arrays.items():
        if array.dtype != network.dtype or array.dtype not in FLOATS:
            raise ValueError(f"a network must be all float32 or all float64 to be saved, and {name!r} is {array.dtype}")


def _encode(values: np.ndarray, mask: np.ndarray | None = None) -> tuple[dict, list[Section]]:
    """(note for the header, sections): the mask's code, if there is a mask, and the kept values."""
    if mask is None:
        note, sections = _encode_values(values)
        return {"form": "plain"} | note, sections
    form, code = encode_mask(mask.reshape(-1))
    note, sections = _encode_values(values[mask])
    return {"form": form} | note, [code, *sections]


def _encode_values(values: np.ndarray) -> tuple[dict, list[Section]]:
    kind, sections = encode_values(values)
    return {} if kind == "planes" else {"values": kind}, sections


def _encode_state(name: str, array: np.ndarray, parameter: Parameter) -> tuple[dict, list[Section]]:
    """The same for what an optimiser remembers; where it is shaped like its parameter, only of the kept weights."""
    array = np.asarray(array)
    _check_state(name, array.shape, array.dtype, parameter)
    mask = parameter.mask if array.shape == parameter.value.shape else None
    kept = mask is not None and not array[~mask].any()
    note = {"form": "kept" if kept else "plain", "dtype": array.dtype.name, "shape": list(array.shape)}
    values, sections = _encode_values(array[mask] if kept else array)
    return note | values, sections


def _check_state(name: str, shape: Shape, dtype: np.dtype, parameter: Parameter) -> None:
    if shape not in ((), parameter.value.shape) or dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"state {name!r} must be a number or shaped like its parameter, not {dtype} {shape}")


def _split(notes: Mapping[str, dict], packed: bytes) -> dict[str, Stored]:
    """The sections of each array, unpacked."""
    view, start, arrays = memoryview(packed), 0, {}
    for name, note in notes.items():
        sections = []
        for size, length in note["sections"]:
            check_count("section", size, at_least=0)
            end = start + check_count("section", length, at_least=0)
            sections.append(unpack(Section(size, view[start:end])))
            start = end
        code = sections.pop(0) if note["form"] not in ("plain", "kept") else b""
        arrays[name] = Stored(note["form"], code, note.get("values", "planes"), sections, note)
    if start != len(packed):
        raise ValueError(f"its header announces {start} bytes of arrays, and it has {len(packed)}")
    return arrays


def _build(header: dict, arrays: dict[str, Stored]) -> Network:
    dtype = np.dtype(header["dtype"])
    room = Counter()
    for name, array in arrays.items():
        room[_layer_of(name)] += longest_mask(array.form, array.code, most_values(array.kind, array.values))
    network = Network(
        [Node(n["name"], _build_layer(n["layer"], room[n["name"]]), tuple(n["inputs"])) for n in header["nodes"]]
    ).astype(dtype)
    for name, parameter in network.parameters().items():
        parameter.value, parameter.mask = _decode(arrays.pop(name), parameter.value.shape, dtype)
        prefix = f"{name}/state/"
        for key in [key for key in arrays if key.startswith(prefix)]:
            parameter.state[key.removeprefix(prefix)] = _decode_state(key, arrays.pop(key), parameter)
    for name, buffer in network.buffers().items():
        buffer[...], _ = _decode(arrays.pop(name), buffer.shape, dtype)
    if arrays:
        raise ValueError(f"it holds unknown arrays: {', '.join(sorted(arrays))}")
    return network


def _build_layer(description: Mapping, room: int) -> Layer:
    """The layer, its weights zero; refused before they are made when they would be more than the `room` in the file."""
    config = description["config"].items()
    values = {
        key: _build_layer(v, room) if isinstance(v, dict) else tuple(v) if isinstance(v, list) else v
        for key, v in config
    }
    kind = LAYERS[description["type"]]
    if issubclass(kind, layers.Weighted) and kind is not normalization.WeightNorm:
        values["init"] = lambda shape, rng: np.zeros(_check_room(shape, room), np.float32)
    if kind is normalization.BatchNorm:
        _check_room((values["channels"],), room)
    return kind(**values)


def _check_room(shape: Shape, room: int) -> Shape:
    if math.prod(shape) > room:
        raise ValueError(f"the header announces weights of shape {shape}, and the arrays hold at most {room}")
    return shape


def _decode(array: Stored, shape: Shape, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, mask) of shape `shape`; what the mask prunes is zero."""
    size = math.prod(shape)
    if array.form == "plain":
        return decode_values(array.kind, array.values, size, dtype).reshape(shape), None
    mask = decode_mask(array.form, array.code, size)
    values = np.zeros(size, dtype)
    values[mask] = decode_values(array.kind, array.values, int(np.count_nonzero(mask)), dtype)
    return values.reshape(shape), mask.reshape(shape)


def _decode_state(name: str, array: Stored, parameter: Parameter) -> np.ndarray:
    shape, dtype = tuple(array.note["shape"]), np.dtype(array.note["dtype"])
    _check_state(name, shape, dtype, parameter)
    if array.form != "kept":
        return _decode(array, shape, dtype)[0]
    values = np.zeros(shape, dtype)
    kept = int(np.count_nonzero(parameter.mask))
    values[parameter.mask] = decode_values(array.kind, array.values, kept, dtype)
    return values
