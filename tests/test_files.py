"""Files: bit-for-bit round trips, small when pruned, damage refused, nothing half written."""

import io
import json
import zipfile

import numpy as np
import pytest
from helpers import random_cnn

import sparsenet as sn
from sparsenet.nn.files import bytes_by_layer, write_atomically


def assert_same(first, second):
    assert repr(first) == repr(second)
    for (name, a), (other, b) in zip(first.parameters().items(), second.parameters().items(), strict=True):
        assert name == other
        assert a.value.dtype == b.value.dtype
        assert np.array_equal(a.value, b.value)
        assert (a.mask is None) == (b.mask is None)
        assert a.mask is None or np.array_equal(a.mask, b.mask)
    for (name, a), (other, b) in zip(first.buffers().items(), second.buffers().items(), strict=True):
        assert name == other
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_round_trip(rng, tmp_path, dtype, weight_norm, sparsity):
    network = random_cnn(4, batch_norm=True, weight_norm=weight_norm)
    if sparsity:
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, sparsity)
        network["fc2"].bias.value[0] = 0.0
    network = network.astype(dtype)
    sn.save_network(tmp_path / "net.npz", network)
    again = sn.load_network(tmp_path / "net.npz")
    assert_same(network, again)
    x = rng.standard_normal((2, 2, 9, 8)).astype(dtype)
    assert np.array_equal(network(x), again(x))
    masks = again.masks()
    assert all(np.array_equal(mask, masks[name]) for name, mask in network.masks().items())


def test_all_layers_and_the_state_survive(rng, tmp_path):
    network = sn.chain(
        {
            "conv": sn.Conv2d(1, 2, (3, 2), stride=(1, 2), padding=(0, 1)),
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
    sn.save_network(tmp_path / "net.npz", network, state=True)
    again = sn.load_network(tmp_path / "net.npz")
    assert_same(network, again)
    for name, parameter in network.parameters().items():
        state = again.parameters()[name].state
        assert set(state) == {"steps", "first_moment", "second_moment"}
        assert all(np.array_equal(array, state[key]) for key, array in parameter.state.items())


def test_a_kept_weight_of_zero_stays_kept(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network.apply_masks({"fc": np.array([[True, False, True], [True, True, False]])})
    network["fc"].weight.value[0, 0] = 0.0
    sn.save_network(tmp_path / "net.npz", network)
    assert sn.load_network(tmp_path / "net.npz").masks()["fc"].tolist() == [[True, False, True], [True, True, False]]


@pytest.mark.parametrize(("sparsity", "part"), [(0.9, 0.14), (0.95, 0.08)])
def test_a_pruned_networks_file_is_small(tmp_path, sparsity, part):
    dense, network = sn.models.simple_cnn(), sn.models.simple_cnn()
    sn.prune(network, sn.score(network, sn.scores.random), sn.strategies.layerwise, sparsity)
    sizes = []
    for name, net in (("dense", dense), ("pruned", network)):
        sn.save_network(tmp_path / name, net)
        sizes.append((tmp_path / name).stat().st_size)
        by_layer = bytes_by_layer(tmp_path / name)
        assert sum(by_layer.values()) == sizes[-1]
        assert set(by_layer) == {"/", "conv1", "conv2", "fc1", "fc2"}
    assert sizes[1] < part * 4 * 206_922
    assert sizes[1] < part * sizes[0] * 1.05


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "net.npz"
    network = sn.chain({"fc1": sn.Linear(5, 4, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(4, 2, seed=1)})
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5)
    sn.save_network(path, network)
    return path.read_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("part", range(8))
def test_damage_of_every_byte_is_refused_or_harmless(content, tmp_path, part, flip):
    for index in range(part, len(content), 8):
        check_damage(content, tmp_path / "net.npz", index, flip)


def check_damage(content, path, index, flip):
    path.write_bytes(content)
    network = sn.load_network(path)
    path.write_bytes(content[:index] + bytes([content[index] ^ flip]) + content[index + 1 :])
    try:
        again = sn.load_network(path)
    except ValueError:
        with pytest.raises(ValueError, match=r"net\.npz is not a sparsenet network, or it is damaged"):
            sn.load_network(path)
    else:
        assert_same(network, again)


@pytest.mark.parametrize("part", [0, 1, 100, 0.5, 0.99])
def test_truncation_is_refused(content, tmp_path, part):
    path = tmp_path / "net.npz"
    path.write_bytes(content[: part if isinstance(part, int) else int(part * len(content))])
    with pytest.raises(ValueError, match="damaged"):
        sn.load_network(path)


def rewrite(content, change):
    """The file with its arrays changed by `change(dict)`."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_wrong_content_is_refused_and_nothing_is_unpickled(content, tmp_path):
    def newer(arrays):
        header = json.loads(arrays["header"].tobytes()) | {"version": 99}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)

    changes = [
        newer,
        lambda a: a.pop("fc2.bias"),
        lambda a: a.update(extra=np.zeros(3)),
        lambda a: a.update({"fc2.bias": np.zeros(3, np.float32)}),
        lambda a: a.update({"fc2.bias": np.zeros(2, np.int32)}),
        lambda a: a.update({"fc2.bias": np.array([{}, {}], object)}),
        lambda a: a.pop("header"),
    ]
    for number, change in enumerate(changes):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(rewrite(content, change))
        with pytest.raises(ValueError, match="damaged"):
            sn.load_network(path)
    with pytest.raises(FileNotFoundError):
        sn.load_network(tmp_path / "missing.npz")


def test_another_byte_order_loads(content, tmp_path):
    def swap(arrays):
        for name, array in arrays.items():
            arrays[name] = array.astype(array.dtype.newbyteorder(">"))

    (tmp_path / "little.npz").write_bytes(content)
    (tmp_path / "big.npz").write_bytes(rewrite(content, swap))
    assert_same(sn.load_network(tmp_path / "little.npz"), sn.load_network(tmp_path / "big.npz"))


def test_own_layers_are_refused_clearly(tmp_path):
    class Mine(sn.ReLU):
        pass

    with pytest.raises(TypeError, match="Mine layer cannot be saved"):
        sn.save_network(tmp_path / "net.npz", sn.chain({"mine": Mine()}))
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_own_optimisers_is_kept_or_refused(tmp_path):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network["fc"].bias.state["scale"] = np.array(0.5, np.float32)
    sn.save_network(tmp_path / "net.npz", network, state=True)
    assert sn.load_network(tmp_path / "net.npz")["fc"].bias.state == {"scale": np.float32(0.5)}
    network["fc"].weight.state["rows"] = np.zeros(2)
    with pytest.raises(ValueError, match="state 'rows' must be a number or shaped like its parameter"):
        sn.save_network(tmp_path / "net.npz", network, state=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        sn.save_network(tmp_path / name, sn.models.lenet_300_100(seed=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert zipfile.is_zipfile(tmp_path / "a")


def test_a_header_that_lies_about_sizes_is_refused(content, tmp_path):
    def enlarge(arrays):
        header = json.loads(arrays["header"].tobytes())
        header["nodes"][0]["layer"]["config"] |= {"in_features": 10**7, "out_features": 10**7}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)

    def listed(arrays):
        header = json.loads(arrays["header"].tobytes())
        header["nodes"][0]["layer"]["config"] = []
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)

    def state(arrays):
        arrays["fc1.bias/state/velocity"] = np.zeros(7, np.float32)

    def text(arrays):
        arrays["fc1.bias/state/velocity"] = np.array("much")

    for number, change in enumerate((enlarge, listed, state, text)):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(rewrite(content, change))
        with pytest.raises(ValueError, match="damaged"):
            sn.load_network(path)
