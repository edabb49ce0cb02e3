"""Files that are written whole or not at all, and what can be known of that before there is anything to write."""

import contextlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from errno import EACCES, EISDIR, ENOENT
from pathlib import Path
from typing import BinaryIO


def check_path(path: str | Path) -> tuple[Path, os.stat_result | None]:
    """(the file that `path` names, through symbolic links; its status, None where there is none yet).

    Raises
    ------
    OSError
        When no file can be written there: its folder is missing, it is itself a folder, it is write-protected.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    try:
        status = path.stat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(ENOENT, "no such folder to write into", str(target.parent)) from None
        return target, None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(EISDIR, "a folder is in the place of the file", str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(EACCES, "the file is write-protected", str(path))
    return target, status


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Call write(binary file), and have all that it wrote at `path`; on any error `path` is untouched.

    Notes
    -----
    A temporary file in the same folder is written, forced to the disk, and renamed: after a crash, too, the old content
    is there or the new one. Through a symbolic link its target is written. A file that exists keeps its mode, and its
    owner where that may be set; a new one gets the mode that the umask leaves. Other hard links keep the old content.
    What is no regular file (a pipe, `/dev/stdout` in a terminal) cannot be renamed onto: it gets the content in one
    piece once that is complete.
    """
    target, status = check_path(path)
    try:
        if status is None or stat.S_ISREG(status.st_mode):
            _replace(target, status, write)
        else:
            _write_into(Path(path), write)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{error.strerror} (nothing of the file was written)", str(path)) from error


def _replace(target: Path, status: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if status is not None:
                _copy_owner_and_mode(status, temporary)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_owner_and_mode(status: os.stat_result, path: Path) -> None:
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):
            os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))  # last: a change of owner clears some bits


def _write_into(path: Path, write: Callable[[BinaryIO], object]) -> None:
    content = io.BytesIO()
    write(content)
    with open(path, "wb") as file:
        file.write(content.getbuffer())


def check_folder(folder: str | Path, names: Iterable[str], size: int) -> None:
    """Make the folder, and see now, not after an hour of training, whether files of `size` bytes in all fit into it.

    Raises
    ------
    OSError
        When the folder or one of the files `names` in it cannot be written, or the disk has no room for `size` bytes.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in names:
            check_path(folder / name)
        disk = shutil.disk_usage(folder)
    except OSError as error:
        raise OSError(f"folder {str(folder)!r} cannot be written: {error.strerror} ({error.filename})") from None
    if disk.total and disk.free < size:  # some network file systems do not tell: all 0
        raise OSError(f"folder {str(folder)!r} has room for {disk.free:,} bytes, and about {size:,} are to be written")
