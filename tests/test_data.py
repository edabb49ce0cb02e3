"""Data sets: the embedded digits, IDX files from a folder, downloads from mirrors, damage named and refused."""

import functools
import gzip
import hashlib
import http.server
import io
import struct
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import cifar10_folder, mnist_folder

import sparsenet as sn
from sparsenet.data import cifar10, idx, mnist
from sparsenet.data.datasets import positions_in_class
from sparsenet.data.digits import enlarge, turn
from sparsenet.nn.augment import rotate_by


def test_digits(digits):
    assert digits.input_shape == (1, 28, 28)
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part.y) for part in parts] == [1085, 357, 355]
    assert sum(len(part.y) for part in parts) == 1797
    for part in parts:
        assert part.x.dtype == np.float32
        assert part.y.dtype == np.int64
        assert part.x.min() == 0
        assert 0.9 < part.x.max() <= 1
    whole = np.bincount(np.concatenate([part.y for part in parts]))
    for part, fraction in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert np.abs(np.bincount(part.y) - fraction * whole).max() <= 1.5  # stratified
    again = sn.load_dataset("digits")
    assert all(
        np.array_equal(a.x, b.x) for a, b in zip(parts, (again.train, again.validation, again.test), strict=True)
    )


def test_the_turned_digits_are_the_digits_turned_by_what_y_says(digits):
    turned = sn.load_dataset("digits_angle")
    assert (turned.classes, turned.outputs, turned.unit) == (None, 1, "45 degrees")
    assert turned.input_shape == (1, 28, 28)
    for name in ("train", "validation", "test"):
        (plain, _), (x, y) = getattr(digits, name), getattr(turned, name)
        assert (x.shape, x.dtype, y.shape, y.dtype) == (plain.shape, np.float32, (len(plain), 1), np.float32)
        expected = rotate_by(plain.astype(np.float64), 45.0 * y[:, 0])
        np.testing.assert_allclose(x, expected, atol=0.5 / 256 + 1e-4)  # of y's rounding: 45 degrees and 2^-25 of that
        assert np.array_equal(x * 256, np.round(x * 256))
        np.testing.assert_allclose(y * 450, np.round(y * 450), atol=1e-4)
        assert np.abs(y).max() <= 1
        # uniform in [-1, 1]: mean 0, variance 1/3, its quarters alike, within four standard deviations
        assert abs(y.mean()) < 4 / np.sqrt(3 * len(y))
        assert y.var() == pytest.approx(1 / 3, abs=4 * np.sqrt(4 / 45 / len(y)))
        counts = np.histogram(y, bins=4, range=(-1, 1))[0]
        assert np.abs(counts - len(y) / 4).max() < 4 * np.sqrt(len(y) * 3 / 16)


def test_the_turned_digits_are_the_same_bits_everywhere():
    data, digest = sn.load_dataset("digits_angle"), hashlib.sha256()
    for part in (data.train, data.validation, data.test):
        for array in part:
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == "faecb7f2ced354147f2db885f7e02f712cb1be49a49c66d534c7b270d708140d"


def test_a_digit_turned_by_hand():
    """A white corner pixel of a 3 x 3 image, at 45 degrees clockwise: half-way off the middle of the right side."""
    x = np.zeros((400, 1, 3, 3), np.float32)
    x[:, 0, 1, 2] = 1
    turned, y = turn(x)
    up = turned[:, 0, 0].sum(axis=1) - turned[:, 0, 2].sum(axis=1)
    assert np.array_equal(np.sign(up[np.abs(y[:, 0]) > 0.1]), np.sign(y[np.abs(y) > 0.1]))  # anticlockwise is positive
    steepest = np.abs(y[:, 0]).argmax()
    angle = np.radians(45 * abs(float(y[steepest, 0])))
    # the pixel above the middle right one is read at (u, v) from the centre, of which (0, 1) is white
    u, v = -np.cos(angle) + np.sin(angle), np.sin(angle) + np.cos(angle)
    expected = max(0, 1 - abs(u)) * max(0, 1 - abs(v - 1))
    assert np.abs(turned[steepest, 0, [0, 2], 2]).max() == pytest.approx(expected, abs=1 / 256)


def test_no_image_is_in_two_parts(digits):
    seen = [{x.tobytes() for x in part.x} for part in (digits.train, digits.validation, digits.test)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_enlarging_by_hand():
    image = np.zeros((1, 8, 8))
    image[0, 3, 4] = 1.0
    large = enlarge(image)[0]
    assert large.shape == (28, 28)
    tent = np.array([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(
        large[2 + 3 * 3 - 1 : 2 + 3 * 3 + 4, 2 + 3 * 4 - 1 : 2 + 3 * 4 + 4], np.outer(tent, tent), rtol=1e-6
    )
    assert large.sum() == pytest.approx(9)
    np.testing.assert_allclose(enlarge(np.ones((1, 8, 8)))[0, 2:-2, 2:-2], 1)


def test_positions_in_class():
    assert positions_in_class(np.array([5, 3, 5, 5, 3])).tolist() == [0, 0, 1, 2, 1]


def idx_bytes(array, code=0x08):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_idx_round_trip(rng):
    for code, dtype in idx.TYPES.items():
        array = (rng.random((3, 4, 2)) * 100).astype(dtype)
        parsed = idx.parse(idx_bytes(array, code))
        assert np.array_equal(parsed, array)
        assert parsed.dtype.isnative


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"hello world", "not an IDX file"),
        (bytes([0, 0, 8, 3, 0]), "truncated: 5 bytes end inside the header"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], "truncated: 17 bytes"),
        (idx_bytes(np.zeros((2, 3), np.uint8)) + b"x", "too long"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "truncated"),
        (bytes([0, 0, 99, 1, 0, 0, 0, 0]), "not an IDX file"),
    ],
)
def test_damaged_idx_is_named(content, message):
    with pytest.raises(ValueError, match=message):
        idx.parse(content, "the file")


@pytest.fixture
def made_up(tmp_path, monkeypatch, rng):
    """A folder with a small data set in MNIST's form: counts and checksums of the module are set to it."""
    arrays = {}
    for kind, count in (("train", 48), ("t10k", 12)):
        arrays[f"{kind}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{kind}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 4
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    contents = {name: idx_bytes(array) for name, array in arrays.items()}
    packed = {name: gzip.compress(content, mtime=0) for name, content in contents.items()}
    for number, name in enumerate(mnist.FILES):  # half of them raw, half packed
        path = folder / (name if number % 2 else f"{name}.gz")
        path.write_bytes(contents[name] if number % 2 else packed[name])

    def sums(files):
        return tuple(hashlib.md5(files[name]).hexdigest() for name in mnist.FILES)

    monkeypatch.setattr(mnist, "COUNTS", {"train": 48, "t10k": 12})
    monkeypatch.setitem(mnist.SOURCES, "mnist", ((), sums(packed), sums(contents)))
    monkeypatch.delenv("SPARSENET_DATA", raising=False)
    return folder.parent, arrays, packed


def test_files_from_a_folder(made_up, monkeypatch):
    folder, arrays, _ = made_up
    data = sn.load_dataset("mnist", folder=folder)
    assert [len(part.y) for part in (data.train, data.validation, data.test)] == [44, 4, 12]
    np.testing.assert_array_equal(np.round(255 * data.test.x[:, 0]), arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.test.y, arrays["t10k-labels-idx1-ubyte"])
    assert sorted(data.validation.y) == [0, 1, 2, 3]  # one of each class: the twelfth
    monkeypatch.setenv("SPARSENET_DATA", str(folder))
    assert np.array_equal(sn.load_dataset("mnist").train.x, data.train.x)
    assert data.check == "checksum"
    packed, known, unknown = mnist.SOURCES["mnist"][1], mnist.SOURCES["mnist"][2], (None,) * 4
    for sums, check in ((unknown, "structure"), ((None, *known[1:]), "structure"), (known, "checksum")):
        monkeypatch.setitem(mnist.SOURCES, "mnist", ((), packed, sums))
        assert sn.load_dataset("mnist").check == check


def first_file(folder):
    return folder / "mnist" / "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "truncated or corrupt"),
        (lambda content: b"", "begins with nothing|truncated or corrupt"),
        (lambda content: b"no gzip", "truncated or corrupt"),
        (
            lambda content: content[:50] + bytes([content[50] ^ 255]) + content[51:],
            "truncated or corrupt|wrong file|altered",
        ),
        (lambda content: gzip.compress(gzip.decompress(content)[:-10]), "is truncated"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1] + b"\1"), "wrong file or was altered: MD5"),
        (lambda content: gzip.compress(idx_bytes(np.zeros((5, 28, 28), np.uint8))), "wrong file: it holds uint8"),
        (lambda content: gzip.compress(idx_bytes(np.zeros(48, np.uint8))), "wrong file: it holds uint8"),
    ],
)
def test_damaged_and_wrong_files_are_named_and_refused(made_up, damage, message):
    folder, _, _ = made_up
    path = first_file(folder)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        sn.load_dataset("mnist", folder=folder)
    assert str(path) in str(caught.value)


def test_labels_are_checked(made_up, monkeypatch):
    folder, _, _ = made_up
    path = folder / "mnist" / "train-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.full(48, 10, np.uint8)))
    with pytest.raises(ValueError, match=r"holds label 10, expected 0\.\.9"):
        sn.load_dataset("mnist", folder=folder)


def test_missing_files_and_folders_say_what_to_do(made_up, tmp_path):
    folder, _, _ = made_up
    first_file(folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\[.gz\] not found. .*SPARSENET_DATA=FOLDER"):
        sn.load_dataset("mnist", folder=folder, download=False)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sn.load_dataset("mnist", folder=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="one of digits, digits_angle, mnist, fashion_mnist, cifar10, not 'cifar'"):
        sn.load_dataset("cifar")


def test_without_pooch_the_message_names_the_extra(made_up, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'sparsenet\[app\]'"):
        sn.load_dataset("mnist")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(address, served folder, cache folder) of a server on this machine; downloads go to that cache folder."""
    pooch = pytest.importorskip("pooch")
    pytest.importorskip("tqdm")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}", tmp_path / "served", tmp_path / "cache" / "sparsenet"
    server.shutdown()
    thread.join()
    server.server_close()


def serve(folder, files):
    """Put files {name: content} into /good/, wrong ones of the same names into /bad/."""
    for name, content in files.items():
        for place, data in (("good", content), ("bad", content[:-9])):
            path = folder / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.fixture
def mirror(made_up, server):
    address, served, cache = server
    serve(served, {f"{name}.gz": content for name, content in made_up[2].items()})
    return address, cache / "mnist"


def use_mirrors(monkeypatch, *mirrors):
    monkeypatch.setitem(mnist.SOURCES, "mnist", (mirrors, *mnist.SOURCES["mnist"][1:]))


def test_download_goes_on_to_the_next_mirror_and_is_kept(mirror, made_up, monkeypatch):
    address, cache = mirror
    use_mirrors(monkeypatch, f"{address}/missing/", f"{address}/bad/", f"{address}/good/")
    data = sn.load_dataset("mnist")
    np.testing.assert_array_equal(data.test.y, made_up[1]["t10k-labels-idx1-ubyte"])
    assert len(list(cache.iterdir())) == 4
    use_mirrors(monkeypatch, "http://127.0.0.1:9/")  # nobody there: the cache must do
    assert np.array_equal(sn.load_dataset("mnist").train.x, data.train.x)


def test_no_mirror_has_it(mirror, monkeypatch):
    address, cache = mirror
    use_mirrors(monkeypatch, f"{address}/missing/", f"{address}/bad/", "http://127.0.0.1:9/")
    with pytest.raises(FileNotFoundError, match=r"SPARSENET_DATA=FOLDER.*Downloading train-images.* failed: .*missing"):
        sn.load_dataset("mnist")
    assert not cache.exists() or not list(cache.iterdir())


@pytest.mark.mnist
def test_the_real_mnist():
    data = sn.load_dataset("mnist", folder=mnist_folder())
    assert [len(part.y) for part in (data.train, data.validation, data.test)] == [55_006, 4_994, 10_000]
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train.x.mean() == pytest.approx(0.1307, abs=1e-3)


@pytest.mark.mnist
def test_one_data_set_in_the_place_of_another_is_refused(tmp_path):
    source, folder = Path(mnist_folder()) / "mnist", tmp_path / "mnist"
    folder.mkdir()
    for name in mnist.FILES:
        (folder / f"{name}.gz").symlink_to(source / f"{name}.gz")
    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte.gz").symlink_to(source / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match="wrong file: it holds uint8"):
        sn.load_dataset("mnist", folder=tmp_path)


def tiny_records(count, step):
    """Records of a label byte and 3 x 2 x 2 = 12 bytes of image: 0, 1, 2, ... times step, modulo 256."""
    pixels = (np.arange(count * 12) * step % 256).reshape(count, 12)
    return np.concatenate([np.arange(count)[:, None] % 10, pixels], axis=1).astype(np.uint8)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """(data folder, records by file) of CIFAR-10's layout: six files of 20 images of 3 x 2 x 2, classes in order."""
    monkeypatch.setattr(cifar10, "RECORDS", 20)
    monkeypatch.setattr(cifar10, "SHAPE", (3, 2, 2))
    monkeypatch.delenv("SPARSENET_DATA", raising=False)
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    records = {file: tiny_records(20, step) for step, file in enumerate(cifar10.FILES, 1)}
    for file, table in records.items():
        (folder / file).write_bytes(table.tobytes())
    return folder.parent, records


def archive_of(records, monkeypatch, extra=()):
    """The bytes of an archive as the published one is; the module takes it for that."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in [*((f"{cifar10.INSIDE}/{file}", t.tobytes()) for file, t in records.items()), *extra]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(packed.getvalue()).hexdigest())
    return packed.getvalue()


def equal_parts(a, b):
    pairs = zip((a.train, a.validation, a.test), (b.train, b.validation, b.test), strict=True)
    return all(np.array_equal(p.x, q.x) and np.array_equal(p.y, q.y) for p, q in pairs)


def test_cifar10_from_a_folder(tiny):
    folder, records = tiny
    data = sn.load_dataset("cifar10", folder=folder)
    assert (data.input_shape, data.classes, data.check) == ((3, 2, 2), 10, "structure")
    assert [part.x.shape[0] for part in (data.train, data.validation, data.test)] == [90, 10, 20]
    assert data.validation.y.tolist() == list(range(10))  # of each class the tenth and last: the last ten images
    train = np.concatenate([records[file] for file in cifar10.FILES[:5]])[:90, 1:].astype(float)
    planes = train.reshape(90, 3, 4)
    mean, deviation = planes.mean((0, 2)), planes.std((0, 2))
    for part, table in ((data.train, train), (data.test, records["test_batch.bin"][:, 1:].astype(float))):
        expected = (table.reshape(-1, 3, 2, 2) - mean[:, None, None]) / deviation[:, None, None]
        assert part.x.dtype == np.float32
        np.testing.assert_allclose(part.x, expected, rtol=1e-6, atol=1e-6)
    assert data.test.y.tolist() == [*range(10), *range(10)]


def test_cifar10_may_lie_as_the_archive_unpacks(tiny):
    folder, _ = tiny
    flat = sn.load_dataset("cifar10", folder=folder)
    inside = folder / "cifar10" / cifar10.INSIDE
    inside.mkdir()
    for file in cifar10.FILES:
        (folder / "cifar10" / file).rename(inside / file)
    assert equal_parts(sn.load_dataset("cifar10", folder=folder), flat)


def test_cifar10_as_its_archive_is_checked_and_writes_nothing(tiny, monkeypatch, tmp_path):
    folder, records = tiny
    flat = sn.load_dataset("cifar10", folder=folder)
    for file in cifar10.FILES:
        (folder / "cifar10" / file).unlink()
    path = folder / "cifar10" / cifar10.ARCHIVE
    content = archive_of(records, monkeypatch, extra=[("../../escaped.bin", b"x"), ("/tmp/test_batch.bin", b"x")])
    path.write_bytes(content)
    data = sn.load_dataset("cifar10", folder=folder)
    assert data.check == "checksum"
    assert equal_parts(data, flat)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [cifar10.ARCHIVE]
    for damaged in (content[:-1], content[:100] + b"?" + content[101:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="truncated, altered or the wrong file: its MD5 is") as caught:
            sn.load_dataset("cifar10", folder=folder)
        assert str(path) in str(caught.value)


def with_label(table, label):
    table = table.copy()
    table[3, 0] = label
    return table


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (
            "data_batch_2.bin",
            lambda t: t.tobytes()[:-1],
            r"data_batch_2.bin is truncated: 259 bytes, .* 20 records of 13",
        ),
        ("data_batch_2.bin", lambda t: t.tobytes() + b"x", "data_batch_2.bin is too long: 261 bytes"),
        ("test_batch.bin", lambda t: b"", "test_batch.bin is truncated: 0 bytes"),
        ("data_batch_5.bin", lambda t: with_label(t, 10).tobytes(), "holds label 10, expected 0..9"),
        ("data_batch_1.bin", lambda t: with_label(t, 4).tobytes(), r"\[10, 10, 10, 9, 11, .* instead of 10 each"),
        ("test_batch.bin", lambda t: with_label(t, 4).tobytes(), r"test_batch.bin of .*\[2, 2, 2, 1, 3, .* of 2 each"),
        ("data_batch_4.bin", lambda t: tiny_records(20, 6).tobytes(), "hold the same"),  # the test part to train on
    ],
)
def test_damaged_files_of_cifar10_are_named_and_refused(tiny, file, damage, message):
    folder, records = tiny
    (folder / "cifar10" / file).write_bytes(damage(records[file]))
    with pytest.raises(ValueError, match=message):
        sn.load_dataset("cifar10", folder=folder)


def test_missing_files_of_cifar10_say_what_to_do(tiny, tmp_path):
    folder, _ = tiny
    (folder / "cifar10" / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar10/ holds some of .* not data_batch_3\.bin$"):
        sn.load_dataset("cifar10", folder=folder)
    for file in cifar10.FILES:
        (folder / "cifar10" / file).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=r"cifar10/data_batch_1.bin not found\. Put cifar-10-binary.tar.gz, or"):
        sn.load_dataset("cifar10", folder=folder, download=False)
    with pytest.raises(FileNotFoundError, match=r"data folder .* does not exist"):
        sn.load_dataset("cifar10", folder=tmp_path / "nowhere")


def test_download_of_cifar10_goes_on_to_the_next_mirror(server, tiny, monkeypatch):
    folder, records = tiny
    address, served, cache = server
    serve(served, {cifar10.ARCHIVE: archive_of(records, monkeypatch)})
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{address}/bad/",))
    with pytest.raises(FileNotFoundError, match=r"SPARSENET_DATA=FOLDER.*Downloading cifar-10-bin.* failed: .*bad"):
        sn.load_dataset("cifar10")
    monkeypatch.setattr(cifar10, "MIRRORS", (f"{address}/bad/", f"{address}/good/"))
    data = sn.load_dataset("cifar10")
    assert data.check == "checksum"
    assert equal_parts(data, sn.load_dataset("cifar10", folder=folder))
    assert [path.name for path in (cache / "cifar10").iterdir()] == [cifar10.ARCHIVE]


def test_a_channel_of_one_value_cannot_be_standardised():
    with pytest.raises(ValueError, match="channel 1 of the images has one value"):
        cifar10.standardizer(np.array([[[[1, 2]], [[7, 7]]]], np.uint8))


@pytest.mark.cifar10
def test_the_real_cifar10():
    data = sn.load_dataset("cifar10", folder=cifar10_folder())
    assert data.input_shape == (3, 32, 32)
    for part, each in ((data.train, 4500), (data.validation, 500), (data.test, 1000)):
        assert np.bincount(part.y).tolist() == [each] * 10
    for channel in range(3):
        values = data.train.x[:, channel].astype(np.float64)
        assert values.mean() == pytest.approx(0, abs=1e-6)
        assert values.std() == pytest.approx(1, abs=1e-6)
    # the published means, 0.4914, 0.4822, 0.4465, over deviations of 0.247, 0.243, 0.262: where the value 0 has gone to
    np.testing.assert_allclose(data.train.x.min((0, 2, 3)), [-1.989, -1.982, -1.708], atol=0.02)


def parts(x=(4, 3), y=(0, 1, 2, 1), dtype=np.float32):
    return np.zeros(x, dtype), np.array(y)


def test_a_data_set_of_ones_own():
    data = sn.Dataset("mine", sn.Split(*parts()), parts((2, 3), (0, 2)), test=parts((1, 3), (1,)), classes=3)
    assert isinstance(data.validation, sn.Split)
    assert data.test.y.tolist() == [1]
    assert data.input_shape == (3,)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros(3), TypeError, "validation must be a pair"),
        (parts((3, 3)), ValueError, "validation must have as many x as y"),
        (parts((0, 3), ()), ValueError, "at least one"),
        (parts((4, 2)), ValueError, r"x of validation must be of shape \(3,\), as in train, not \(2,\)"),
        (parts(dtype=np.uint8), TypeError, "x of validation must be float32 or float64, not uint8"),
        (parts(y=(0, 1, 2, 3)), ValueError, r"y of validation must be in 0\.\.2 \(classes\), not 0\.\.3"),
        (parts(y=(0, -1, 2, 1)), ValueError, r"not -1\.\.2"),
        (parts(y=(0.0, 1, 2, 1)), ValueError, "integer labels"),
        (parts(y=np.zeros((4, 1), int)), ValueError, "integer labels"),
        ((np.ma.zeros((4, 3), np.float32), np.zeros(4, int)), TypeError, "x of validation must be a plain array"),
        ((np.zeros((4, 3), np.float32), np.ma.zeros(4, int)), TypeError, "y of validation must be a plain array"),
    ],
)
def test_a_wrong_data_set_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        sn.Dataset("mine", parts(), wrong, parts(), classes=3)
    with pytest.raises(ValueError, match="classes must be at least 1"):
        sn.Dataset("mine", parts(), parts(), parts(), classes=0)


def targets(y=((0.5,), (1.0,), (2.0,), (-1.0,)), x=(4, 3)):
    return np.zeros(x, np.float32), np.array(y)


def test_a_data_set_without_classes_is_a_regression():
    data = sn.Dataset("mine", targets(), targets([[3.0]], (1, 3)), targets(), unit="metres")
    assert (data.classes, data.outputs, data.unit, data.check) == (None, 1, "metres", "")
    assert data.validation.y.tolist() == [[3.0]]
    assert sn.Dataset("mine", *[targets(np.ones((4, 2), np.float32))] * 3).outputs == 2
    assert sn.Dataset("mine", parts(), parts(), parts(), classes=3).outputs == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            (0, 1, 2, 1),
            r"y of validation must be float targets \(N, K\).* not int64 of \(4,\) \(integer labels need cl",
        ),
        ([[0], [1], [2], [1]], "must be float targets"),
        ((0.0, 1, 2, 1), r"must be float targets \(N, K\), .* not float64 of \(4,\)"),
        (np.zeros((4, 2)), r"the same K in all parts, not float64 of \(4, 2\)"),
        ([[0.0], [1], [np.nan], [1]], "y of validation must hold finite numbers"),
        ([[0.0], [1], [-np.inf], [1]], "y of validation must hold finite numbers"),
    ],
)
def test_wrong_targets_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sn.Dataset("mine", targets(), targets(wrong), targets())
