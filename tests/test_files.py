"""Files of networks: bit-for-bit round trips, small when pruned, damage refused."""

import base64
import hashlib
import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import random_cnn

import sparsenet as sn
from sparsenet.files.checkpoint import bytes_by_layer, count_bytes
from sparsenet.files.codecs import Section, pack, split_values

WRITTEN = """
UEsDBBQAAAAIAAAAIQBRAlQdQgEAALgDAAALAAAAaGVhZGVyLmpzb26lksFuwjAMQH9l8jkDWrYdetx52g+gCpni0ojWqRIXhFD/fQ6wjYoeGDvUrRzn
PcfpEUrnGxTIILToAzHJkz5757dgYEc+WMeQpQbWcmhJ68raocxTXWW3pgDZ4giMzWmp0KzltpOYPn9BbqDGA3nIjnBBfFgm9FpbOC7tJq5YXpaE0vlI
nBtwnVwl0r7vzY+GteWBSL0jlneUovo81/6KigqZqQ6nM1Gr74SeZ68GGtcQS9dANpsk6lMieo+HEHdF5cR3zJY3y4aQYzKOTj1tjZbVEagQHVbsaJGa
NDc3Me/NkLRD/zCoLCZ7sptKrggrqwMZAhKT6Ka5mY/EAWYaBIWmO6pdYeVwRd1SKzD2A4QKY0ZbUuLAer8vyOkSbobwbbMsby9XrnzsePfGSwMri2PK
P1zgBpsG/4dYkTxK6PsvUEsDBBQAAAAAAAAAIQCRdkJgSQAAAEkAAAAKAAAAYXJyYXlzLmJpbgABAAAAAAB8AAAAAAAAf3+MAAEAAAAAAKAAfoAAAAAB
AAAAAAAAfX9/AgEAAAAAAAAAAQAAAAB/gAAAAAAAAH9/AAAAAAAAAABQSwMEFAAAAAAAAAAhACT50UUgAAAAIAAAAAYAAABzaGEyNTawJklt26nCQfiP
L4y4kUNSe1gbAo3ol/KVCtLXVZXZulBLAQIUAxQAAAAIAAAAIQBRAlQdQgEAALgDAAALAAAAAAAAAAAAAACAAQAAAABoZWFkZXIuanNvblBLAQIUAxQA
AAAAAAAAIQCRdkJgSQAAAEkAAAAKAAAAAAAAAAAAAACAAWsBAABhcnJheXMuYmluUEsBAhQDFAAAAAAAAAAhACT50UUgAAAAIAAAAAYAAAAAAAAAAAAA
AIAB3AEAAHNoYTI1NlBLBQYAAAAAAwADAKUAAAAgAgAAAAA=
"""


def assert_same(first, second):
    assert repr(first) == repr(second)
    for (name, a), (other, b) in zip(first.parameters().items(), second.parameters().items(), strict=True):
        assert name == other
        assert a.value.dtype == b.value.dtype
        assert np.array_equal(a.value, b.value, equal_nan=True)
        kept = np.ones(a.value.shape, bool) if a.mask is None else a.mask
        assert a.value[kept].tobytes() == b.value[kept].tobytes()
        assert (a.mask is None) == (b.mask is None)
        assert a.mask is None or np.array_equal(a.mask, b.mask)
    for (name, a), (other, b) in zip(first.buffers().items(), second.buffers().items(), strict=True):
        assert name == other
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_round_trip(rng, tmp_path, dtype, weight_norm, sparsity):
    network = random_cnn(4, batch_norm=True, weight_norm=weight_norm)
    if sparsity:
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, sparsity)
        network["fc2"].bias.value[0] = 0.0
    network = network.astype(dtype)
    sn.save_network(tmp_path / "net.sparsenet", network)
    again = sn.load_network(tmp_path / "net.sparsenet")
    assert_same(network, again)
    x = rng.standard_normal((2, 2, 9, 8)).astype(dtype)
    assert np.array_equal(network(x), again(x))
    masks = again.masks()
    assert all(np.array_equal(mask, masks[name]) for name, mask in network.masks().items())


def test_all_layers_and_the_state_survive(rng, tmp_path):
    network = sn.chain(
        {
            "conv": sn.Conv2d(1, 2, (3, 2), stride=(1, 2), padding=(0, 1)),
            "groups": sn.Conv2d(2, 2, 3, padding=(1, 2), dilation=(1, 2), groups=2),
            "max": sn.MaxPool2d((2, 1), 1),
            "avg": sn.AvgPool2d(2, 1, 1),
            "drop": sn.Dropout(0.25),
            "norm": sn.BatchNorm(2, eps=1e-3, momentum=0.2),
            "global": sn.GlobalAvgPool2d(),
            "fc": sn.Linear(2, 3),
        }
    )
    data = rng.standard_normal((8, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 8)
    sn.fit(network, data, epochs=1, optimizer=sn.Adam())
    sn.save_network(tmp_path / "net.sparsenet", network, state=True)
    again = sn.load_network(tmp_path / "net.sparsenet")
    assert_same(network, again)
    for name, parameter in network.parameters().items():
        state = again.parameters()[name].state
        assert set(state) == {"steps", "first_moment", "second_moment"}
        assert all(np.array_equal(array, state[key]) for key, array in parameter.state.items())


def test_a_kept_weight_of_zero_stays_kept(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network.apply_masks({"fc": np.array([[True, False, True], [True, True, False]])})
    network["fc"].weight.value[0, 0] = 0.0
    sn.save_network(tmp_path / "net.sparsenet", network)
    assert sn.load_network(tmp_path / "net.sparsenet").masks()["fc"].tolist() == [
        [True, False, True],
        [True, True, False],
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_any_mask_survives_whatever_it_keeps(rng, tmp_path, dtype, density):
    network = sn.chain({"conv": sn.Conv2d(3, 5, 3), "flatten": sn.Flatten(), "fc": sn.Linear(45, 30)}).astype(dtype)
    for parameter in network.parameters().values():
        parameter.value[...] = rng.choice([0.0, -0.0, 1.5, -1e-40, np.nan, np.inf, -np.inf], parameter.value.shape)
        parameter.set_mask(rng.random(parameter.value.shape) < density)
    sn.save_network(tmp_path / "net.sparsenet", network)
    assert_same(network, sn.load_network(tmp_path / "net.sparsenet"))


@pytest.mark.parametrize("optimizer", [sn.SGD(momentum=0.9), sn.Adam()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_state_of_a_pruned_network_survives_and_is_small(rng, tmp_path, dtype, optimizer):
    network = sn.chain({"fc1": sn.Linear(300, 40, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(40, 3, seed=2)})
    network = network.astype(dtype)
    data = rng.standard_normal((16, 300)).astype(dtype), rng.integers(0, 3, 16)
    sn.fit(network, data, epochs=1, optimizer=optimizer)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    sn.fit(network, data, epochs=1, optimizer=optimizer)
    sn.save_network(tmp_path / "net.sparsenet", network, state=True)
    again = sn.load_network(tmp_path / "net.sparsenet")
    assert_same(network, again)
    arrays = 1
    for name, parameter in network.parameters().items():
        state = again.parameters()[name].state
        assert {key: (a.dtype, a.shape) for key, a in state.items()} == {
            key: (a.dtype, a.shape) for key, a in parameter.state.items()
        }
        assert all(np.array_equal(a, state[key]) for key, a in parameter.state.items())
        arrays = max(arrays, 1 + sum(a.shape == parameter.value.shape for a in parameter.state.values()))
    assert (tmp_path / "net.sparsenet").stat().st_size < 0.13 * arrays * network["fc1"].weight.value.nbytes


def test_state_that_a_mask_does_not_clear_is_kept_whole(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network.apply_masks({"fc": np.array([[True, False, True], [True, True, False]])})
    network["fc"].weight.state["age"] = np.arange(6, dtype=np.int16).reshape(2, 3)
    sn.save_network(tmp_path / "net.sparsenet", network, state=True)
    age = sn.load_network(tmp_path / "net.sparsenet")["fc"].weight.state["age"]
    assert age.dtype == np.int16
    assert age.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("sparsity", "part"), [(0.0, 0.84), (0.9, 0.095), (0.95, 0.048), (0.98, 0.021)])
def test_a_pruned_networks_file_is_small(tmp_path, sparsity, part):
    """Parts of the dense network in float32: 0.9 of the weights gone is 0.1 for the kept ones alone, as they are."""
    network = sn.models.simple_cnn()
    if sparsity:
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, sparsity)
    sn.save_network(tmp_path / "net", network)
    by_layer = bytes_by_layer(tmp_path / "net")
    assert set(by_layer) == {"/", "conv1", "conv2", "fc1", "fc2"}
    assert sum(by_layer.values()) == (tmp_path / "net").stat().st_size < part * 4 * 206_922
    assert by_layer["/"] < 1000
    assert count_bytes(network) == by_layer


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A small file with all that there is: masks of each form, statistics, state of each form and type."""
    path = tmp_path_factory.mktemp("files") / "net.sparsenet"
    network = sn.chain(
        {
            "fc1": sn.Linear(12, 9, seed=1),
            "norm": sn.BatchNorm(9),
            "relu": sn.ReLU(),
            "fc2": sn.WeightNorm(sn.Linear(9, 2, seed=1)),
            "fc3": sn.Linear(2, 90, seed=1),
        }
    )
    rng = np.random.default_rng(1)
    network["fc3"].set_weight(rng.choice(np.array([0.5, -1.25, 3.0], np.float32), (90, 2)))
    network.apply_masks({"fc1": rng.random((9, 12)) < 0.1, "fc2": rng.random((2, 9)) < 0.5})
    network["norm"].gamma.set_mask(np.ones(9, bool))
    network["fc1"].bias.state["velocity"] = rng.standard_normal(9).astype(np.float32)
    network["fc1"].weight.state["velocity"] = np.where(network.masks()["fc1"], np.float32(0.5), np.float32(0))
    network["fc1"].weight.state["steps"] = np.array(7)
    sn.save_network(path, network, state=True)
    header, _ = unfold(path.read_bytes())
    forms = {name: note["form"] for name, note in header["arrays"].items()}
    assert {"plain", "dense", "bits", "gaps", "kept"} == set(forms.values()), forms
    assert [name for name, note in header["arrays"].items() if "values" in note] == ["fc3.weight"]
    return path.read_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_damage_of_every_byte_is_refused_or_harmless(content, tmp_path, flip):
    assert len(content) < 3000
    path, refused = tmp_path / "net.sparsenet", []
    path.write_bytes(content)
    whole = sn.load_network(path)
    for index, byte in enumerate(content):
        path.write_bytes(content[:index] + bytes([byte ^ flip]) + content[index + 1 :])
        try:
            again = sn.load_network(path)
        except ValueError as error:
            refused.append(str(error))
        else:
            assert_same(whole, again)
            for name, parameter in whole.parameters().items():
                state = again.parameters()[name].state
                assert set(state) == set(parameter.state)
                assert all(np.array_equal(array, state[key]) for key, array in parameter.state.items())
    assert all(message.startswith(f"{path} is ") for message in refused)
    assert len(refused) > len(content) - 200  # the rest: dates, attributes and the like in the directory of the zip


def test_every_truncation_is_refused(content, tmp_path):
    path = tmp_path / "net.sparsenet"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            sn.load_network(path)


def unfold(content):
    """(header, arrays) of a file, each array as a list of sections."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        header, packed = json.loads(archive.read("header.json")), io.BytesIO(archive.read("arrays.bin"))
    arrays = {
        name: [Section(size, packed.read(length)) for size, length in note.pop("sections")]
        for name, note in header["arrays"].items()
    }
    return header, arrays


def rewrite(content, change):
    """The file with `change(header, arrays)` done to it, and the checksum of what it then is: a lie well told."""
    header, arrays = unfold(content)
    change(header, arrays)
    for name, sections in arrays.items():
        header["arrays"].setdefault(name, {"form": "plain"})["sections"] = [[s.size, len(s.packed)] for s in sections]
    text = json.dumps(header).encode()
    packed = b"".join(section.packed for sections in arrays.values() for section in sections)
    digest = hashlib.sha256(len(text).to_bytes(8, "little") + text + packed).digest()
    return zipped({"header.json": (text, 8), "arrays.bin": (packed, 0), "sha256": (digest, 0)})


def zipped(parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, (data, method) in parts.items():
            archive.writestr(name, data, method)
    return out.getvalue()


def planes(array):
    return [pack(plane) for plane in split_values(array)]


def without(name):
    def change(header, arrays):
        del header["arrays"][name], arrays[name]

    return change


def configured(number, **values):
    return lambda header, arrays: header["nodes"][number]["layer"]["config"].update(values)


CHANGES = {
    "an array missing": without("fc1.bias"),
    "one too many": lambda h, a: a.update(extra=planes(np.zeros(3))),
    "of another size": lambda h, a: a.update({"fc1.bias": planes(np.zeros(3, np.float32))}),
    "of another type": lambda h, a: a.update({"fc1.bias": planes(np.zeros(9))}),
    "of no type": lambda h, a: h.update(dtype="O"),
    "of half the type": lambda h, a: h.update(dtype="float16"),
    "of no sections": lambda h, a: a.update({"fc1.bias": []}),
    "a mask of no code": lambda h, a: a.update({"fc1.weight": []}),
    "a mask of unknown form": lambda h, a: h["arrays"]["fc1.weight"].update(form="runs"),
    "a mask of bits as gaps": lambda h, a: h["arrays"]["fc2.direction"].update(form="gaps"),
    "a form that is none": lambda h, a: h["arrays"]["fc1.weight"].update(form=["bits"]),
    "too few values": lambda h, a: a.update({"fc1.weight": [a["fc1.weight"][0], *planes(np.ones(3, np.float32))]}),
    "sizes that are none": lambda h, a: a.update({"fc1.bias": [Section("9", b"")]}),
    "sizes below zero": lambda h, a: a.update({"fc1.bias": [Section(-9, b"")]}),
    "nodes that are none": lambda h, a: h.update(nodes={"fc1": 1}),
    "another format": lambda h, a: h.update(format="something else"),
    "a layer that is none": lambda h, a: h["nodes"][2]["layer"].update(type="Network"),
    "settings that are none": lambda h, a: h["nodes"][0]["layer"].update(config=[]),
    "state of another shape": lambda h, a: h["arrays"]["fc1.bias/state/velocity"].update(shape=[7]),
    "state of no type": lambda h, a: h["arrays"]["fc1.bias/state/velocity"].update(dtype="O"),
    "state of text": lambda h, a: h["arrays"]["fc1.bias/state/velocity"].update(dtype="U1"),
    "more weights than bytes": configured(0, in_features=10**7, out_features=10**7),
    "more than fit the memory": configured(0, in_features=10**5, out_features=10**5),
    "more channels than bytes": configured(1, channels=10**10),
    "values of unknown form": lambda h, a: h["arrays"]["fc3.weight"].update(values="runs"),
    "values of a form that is none": lambda h, a: h["arrays"]["fc3.weight"].update(values=["codebook"]),
    "planes as a codebook": lambda h, a: h["arrays"]["fc1.bias"].update(values="codebook"),
    "a codebook as planes": lambda h, a: h["arrays"]["fc3.weight"].update(values="planes"),
    "a codebook too short": lambda h, a: a["fc3.weight"].__setitem__(0, Section(8, bytes(8))),
    "a codebook without a code": lambda h, a: a["fc3.weight"].pop(),
    "lengths of no code": lambda h, a: a["fc3.weight"].__setitem__(1, Section(3, b"\x01\x01\x01")),
    "codes too few": lambda h, a: a["fc3.weight"].__setitem__(2, Section(3, b"\x00\x00\x00")),
    "codes too many": lambda h, a: a["fc3.weight"].__setitem__(2, Section(99, bytes(99))),
    "a channel of text": configured(1, channels="9"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_wrong_content_is_refused(content, tmp_path, change):
    path = tmp_path / "net.sparsenet"
    path.write_bytes(rewrite(content, lambda header, arrays: None))
    sn.load_network(path)
    path.write_bytes(rewrite(content, change))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"net\.sparsenet is not a sparsenet network, or it is damaged: ."):
            sn.load_network(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_no_layer_is_made_that_the_file_has_no_room_for(content, tmp_path):
    path = tmp_path / "net.sparsenet"
    for number, values, shape in (
        (0, {"out_features": 10**5}, r"\(100000, 12\)"),
        (1, {"channels": 10**5}, r"\(100000,\)"),
    ):
        path.write_bytes(rewrite(content, configured(number, **values)))
        with pytest.raises(ValueError, match=rf"announces weights of shape {shape}, and the arrays hold at most \d+"):
            sn.load_network(path)


def test_other_zips_and_other_sums_are_refused(content, tmp_path):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {info.filename: (archive.read(info), info.compress_type) for info in archive.infolist()}
    packed = bytearray(parts["arrays.bin"][0])
    packed[len(packed) // 2] ^= 1
    path = tmp_path / "net.sparsenet"
    for other, message in (
        (parts | {"arrays.bin": (bytes(packed), 0)}, "its content does not have the SHA-256"),
        (parts | {"header.json": (parts["header.json"][0] + b" ", 8)}, "its content does not have the SHA-256"),
        (parts | {"header.json": (b" " * 2**24 + b"{}", 8)}, "its header of 16777218 bytes is too long"),
        (parts | {"header.json": (b"[" * 10**5, 8)}, "recursion"),
        (parts | {"header.json": (b"{", 8)}, "Expecting property name"),
        (parts | {"arrays.bin": (parts["arrays.bin"][0], 14)}, "its parts are not header.json, arrays.bin, sha256"),
        (parts | {"more": (b"", 0)}, "its parts are not header.json, arrays.bin, sha256"),
        ({name: parts[name] for name in ("header.json", "arrays.bin")}, "its parts are not"),
    ):
        path.write_bytes(zipped(other))
        for read in (sn.load_network, bytes_by_layer):
            with pytest.raises(
                ValueError, match=rf"net\.sparsenet is not a sparsenet network, or it is damaged: .*{message}"
            ):
                read(path)
    with pytest.raises(FileNotFoundError):
        sn.load_network(tmp_path / "missing.sparsenet")


def test_other_versions_are_named(content, tmp_path):
    newer, older = tmp_path / "newer.sparsenet", tmp_path / "older.npz"
    newer.write_bytes(rewrite(content, lambda header, arrays: header.update(version=99)))
    header = {"format": "sparsenet network", "version": 1, "dtype": "float32", "nodes": []}
    np.savez_compressed(older, header=np.frombuffer(json.dumps(header).encode(), np.uint8))
    for path, version in ((newer, 99), (older, 1)):
        message = f"{path} is a sparsenet network file of version {version}; this sparsenet reads versions 2 and 3"
        with pytest.raises(ValueError, match=re.escape(message)):
            sn.load_network(path)


def test_a_file_of_another_machine_loads(tmp_path):
    """The bytes of a file written once: a change of the format, or of the order of bytes, would not read them."""
    path = tmp_path / "net.sparsenet"
    path.write_bytes(base64.b64decode(WRITTEN))
    network = sn.load_network(path)
    fc, norm = network["fc"], network["norm"]
    assert fc.weight.value.tolist() == [[0.5, 0.0, 0.0], [0.0, -3.25, 0.0]]
    assert fc.weight.mask.tolist() == [[True, False, False], [False, True, True]]
    assert fc.bias.value.tolist() == [1.0, -2.0]
    assert fc.weight.state["velocity"].tolist() == [[0.25, 0.0, 0.0], [0.0, 1.0, -1.0]]
    assert fc.weight.state["steps"] == 258
    assert norm.running_mean.tolist() == [0.0, -0.125]
    assert network.dtype == np.float32
    for parameter in network.parameters().values():
        assert parameter.value.dtype.isnative


def test_a_file_of_version_2_loads_and_one_without_codebooks_could_be_one(tmp_path):
    path = tmp_path / "net.sparsenet"
    network = random_cnn(4, batch_norm=True)
    sn.save_network(path, network)
    header, _ = unfold(path.read_bytes())
    assert header["version"] == 3
    path.write_bytes(rewrite(path.read_bytes(), lambda header, arrays: header.update(version=2)))
    assert_same(sn.load_network(path), network)


def test_a_file_from_before_dilation_and_groups_loads(tmp_path):
    network, path = sn.chain({"conv": sn.Conv2d(2, 3, 3)}), tmp_path / "net.sparsenet"
    sn.save_network(path, network)

    def forget(header, arrays):
        for name in ("dilation", "groups"):
            del header["nodes"][0]["layer"]["config"][name]

    path.write_bytes(rewrite(path.read_bytes(), forget))
    assert_same(sn.load_network(path), network)


def test_a_network_of_two_types_is_not_written(tmp_path):
    network = sn.chain({"fc1": sn.Linear(3, 2), "fc2": sn.Linear(2, 2)})
    network["fc2"].bias = network["fc2"].bias.astype(np.float64)
    with pytest.raises(ValueError, match=r"all float32 or all float64 to be saved, and 'fc2\.bias' is float64"):
        sn.save_network(tmp_path / "net.sparsenet", network)
    assert list(tmp_path.iterdir()) == []


def test_own_layers_are_refused_clearly(tmp_path):
    class Mine(sn.ReLU):
        pass

    with pytest.raises(TypeError, match="Mine layer cannot be saved"):
        sn.save_network(tmp_path / "net.sparsenet", sn.chain({"mine": Mine()}))
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_own_optimisers_is_kept_or_refused(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network["fc"].bias.state["scale"] = np.array(0.5, np.float32)
    sn.save_network(tmp_path / "net.sparsenet", network, state=True)
    assert sn.load_network(tmp_path / "net.sparsenet")["fc"].bias.state == {"scale": np.float32(0.5)}
    network["fc"].weight.state["rows"] = np.zeros(2)
    with pytest.raises(ValueError, match="state 'rows' must be a number or shaped like its parameter"):
        sn.save_network(tmp_path / "net.sparsenet", network, state=True)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        sn.save_network(tmp_path / name, sn.models.lenet_300_100(seed=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert zipfile.is_zipfile(tmp_path / "a")


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    monkeypatch.setattr("sparsenet.files.checkpoint._serialize", None)
    with pytest.raises(FileNotFoundError, match=r"no such folder to write into: '.*missing'"):
        sn.save_network(tmp_path / "missing" / "net.sparsenet", network)
    with pytest.raises(IsADirectoryError, match="a folder is in the place of the file"):
        sn.save_network(tmp_path, network)


def test_a_network_is_written_through_a_link(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2, seed=1)})
    (tmp_path / "link").symlink_to(tmp_path / "net.sparsenet")
    sn.save_network(tmp_path / "link", network)
    assert (tmp_path / "link").is_symlink()
    assert_same(sn.load_network(tmp_path / "net.sparsenet"), network)
