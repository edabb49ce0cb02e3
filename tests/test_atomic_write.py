"""Files written whole or not at all: links, modes, long names, pipes, full disks; what is known before."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sparsenet as sn
from sparsenet.files.atomic_write import check_folder, check_path, write_atomically

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes, links and special files of POSIX")
AS_ROOT = os.name == "posix" and os.geteuid() == 0


def write(content):
    return lambda file: file.write(content)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, OSError(errno.ENOSPC, "full"), ValueError])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_atomically(path, fail)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    events = []

    def synced(handle):
        events.append(("synced", os.fstat(handle).st_size))

    def replaced(temporary, path):
        events.append(("renamed", Path(temporary).parent == tmp_path))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(tmp_path / "file", write(b"content"))
    assert events == [("synced", 7), ("renamed", True)]


@POSIX
def test_a_new_file_has_the_mode_that_the_umask_leaves_and_an_old_one_keeps_its_own(tmp_path, umask):
    for before, after in ((None, 0o640), (0o600, 0o600), (0o666, 0o666), (0o755, 0o755)):
        path = tmp_path / f"file{before}"
        if before is not None:
            path.write_bytes(b"old")
            path.chmod(before)
        modes = []
        write_atomically(path, lambda file, modes=modes: modes.append(mode(Path(file.name))) or file.write(b"new"))
        assert path.read_bytes() == b"new"
        assert (modes, mode(path)) == ([after], after)  # never wider, not for a moment


@POSIX
def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)  # it is one for all threads
    write_atomically(tmp_path / "file", write(b"new"))
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.skipif(not AS_ROOT, reason="gives files to others")
def test_a_file_of_another_owner_stays_theirs(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    write_atomically(path, write(b"new"))
    assert (path.stat().st_uid, path.stat().st_gid, path.read_bytes()) == (12345, 23456, b"new")


@pytest.mark.skipif(AS_ROOT or os.name != "posix", reason="root may write everything")
def test_a_write_protected_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="write-protected"):
        write_atomically(path, write(b"new"))
    assert path.read_bytes() == b"old"


def test_a_protection_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match="write-protected"):
        check_path(tmp_path / "file")


@POSIX
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    target, link, second = tmp_path / "there" / "file", tmp_path / "here" / "link", tmp_path / "second"
    link.symlink_to("../there/file")  # relative to the link, not to where we are
    second.symlink_to(link)
    for content in (b"new", b"newer"):  # the target does not exist, then it does
        write_atomically(second, write(content))
        assert target.read_bytes() == content
        assert link.is_symlink()
        assert second.is_symlink()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["link"]


@POSIX
def test_links_that_lead_nowhere_are_refused(tmp_path):
    loop, lost = tmp_path / "loop", tmp_path / "lost"
    loop.symlink_to(loop)
    lost.symlink_to(tmp_path / "missing" / "file")
    with pytest.raises(OSError, match="Too many levels"):
        write_atomically(loop, write(b"new"))
    with pytest.raises(FileNotFoundError, match="missing"):
        write_atomically(lost, write(b"new"))
    assert sorted(tmp_path.iterdir()) == [loop, lost]


@pytest.mark.parametrize("name", ["n" * 255, "\u00fc" * 127, "a"])
def test_names_of_any_length(tmp_path, name):
    for content in (b"old", b"new"):
        write_atomically(tmp_path / name, write(content))
        assert (tmp_path / name).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_bytes(b"old")

    def never(file):
        pytest.fail("asked for content that cannot be written")

    for path, error, message in (
        (tmp_path, IsADirectoryError, f"a folder is in the place of the file: {str(tmp_path)!r}"),
        ("", IsADirectoryError, "a folder is in the place of the file: '.'"),
        (
            tmp_path / "missing" / "file",
            FileNotFoundError,
            f"no such folder to write into: {str(tmp_path / 'missing')!r}",
        ),
        (tmp_path / "file" / "below", NotADirectoryError, "Not a directory"),
        (tmp_path / ("n" * 256), OSError, "too long"),
    ):
        with pytest.raises(error) as raised:
            write_atomically(path, never)
        assert message in str(raised.value)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def refuse(temporary, path):
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as raised:
        write_atomically(tmp_path / "file", write(b"new"))
    assert raised.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    network = sn.chain({"fc": sn.Linear(3, 2, seed=1)})
    sn.save_network(path, network)
    reader.join(60)
    assert stat.S_ISFIFO(path.stat().st_mode)
    sn.save_network(tmp_path / "file", network)
    assert got == [(tmp_path / "file").read_bytes()]


@POSIX
def test_standard_output_is_written_like_a_pipe():
    code = (
        "from sparsenet.files.atomic_write import write_atomically\n"
        "write_atomically('/dev/stdout', lambda file: file.write(b'content'))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"content"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_devices_stay_devices():
    write_atomically("/dev/null", write(b"new"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match=r"No space left on device \(nothing of the file was written\): '/dev/full'"):
        write_atomically("/dev/full", write(b"new"))


@POSIX
def test_a_disk_that_fills_up_leaves_the_old_files(tmp_path):
    """A limit on the size of files stands in for the disk: it fails in the same places, in the middle of a file."""
    code = """
import resource, sys
import sparsenet as sn
from sparsenet.lab.experiment import write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
folder = sys.argv[1]
for name, save in (
    ("net", lambda path: sn.save_network(path, sn.chain({"fc": sn.Linear(300, 200)}))),
    ("json", lambda path: write_json(path, {"text": "long" * 5000})),
):
    try:
        save(f"{folder}/{name}")
    except OSError as error:
        print(error)
"""
    (tmp_path / "net").write_bytes(b"old")
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        f"[Errno {errno.EFBIG}] File too large (nothing of the file was written): '{tmp_path / name}'"
        for name in ("net", "json")
    ]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("net", b"old")]


def test_a_folder_is_made_and_checked(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "out"
    check_folder(folder, ["file"], 1)
    assert list(folder.iterdir()) == []
    free = shutil.disk_usage(folder).free
    with pytest.raises(OSError, match=r"deep/out' has room for [\d,]+ bytes, and about [\d,]+ are to be written"):
        check_folder(folder, ["file"], 2 * free + 2**30)
    usage = shutil.disk_usage(folder)
    for total, available, size, fits in ((100, 10, 10, True), (100, 10, 11, False), (0, 0, 10, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, t=total, a=available: usage._replace(total=t, free=a))
        if fits:
            check_folder(folder, ["file"], size)
        else:
            with pytest.raises(OSError, match="has room for 10 bytes, and about 11 are"):
                check_folder(folder, ["file"], size)
    (folder / "file").mkdir()
    with pytest.raises(OSError, match="cannot be written: a folder is in the place of the file"):
        check_folder(folder, ["other", "file"], 1)
