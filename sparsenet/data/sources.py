"""Where the files of a data set come from: the data folder, else a checked download into the user's cache folder."""

import os
from collections.abc import Iterable
from pathlib import Path


def data_folder(folder: str | Path | None) -> Path | None:
    """The data folder: `folder`, else the one that SPARSENET_DATA names, else None; an error where it is none."""
    folder = folder or os.environ.get("SPARSENET_DATA") or None
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"data folder {str(folder)!r} does not exist (option --data or SPARSENET_DATA)")
    return None if folder is None else Path(folder)


def find_file(folder: Path | None, candidates: Iterable[str]) -> Path | None:
    """The first of the candidates that is a file in the data folder."""
    paths = [] if folder is None else [folder / candidate for candidate in candidates]
    return next((path for path in paths if path.is_file()), None)


def advise(name: str, what: str, folder: Path | None, missing: str) -> str:
    """What a message says where a file is missing: where it was sought, and what to put where."""
    where = f"{folder}/{name}/{missing} not found. " if folder else ""
    return f"{where}Put {what} into a folder FOLDER/{name}/ and set SPARSENET_DATA=FOLDER (or --data FOLDER)"


def download(name: str, file: str, mirrors: Iterable[str], md5: str, advice: str, *, allowed: bool) -> Path:
    """Fetch a file into the user's cache folder, from the first mirror that gives the right bytes; once and for all.

    Raises
    ------
    FileNotFoundError
        With the advice, where downloads are not allowed or possible, or no mirror has the file.
    """
    if not allowed:
        raise FileNotFoundError(advice)
    try:
        import pooch
    except ImportError:
        raise FileNotFoundError(f"{advice}; or, to download them, pip install 'sparsenet[app]'") from None
    failures = []
    for mirror in mirrors:
        try:
            return Path(
                pooch.retrieve(
                    f"{mirror}{file}",
                    known_hash=f"md5:{md5}",
                    fname=file,
                    path=pooch.os_cache("sparsenet") / name,
                    downloader=pooch.HTTPDownloader(progressbar=True, timeout=30),
                )
            )
        except (OSError, ValueError) as error:  # no network, no such file; a wrong checksum
            failures.append(f"{mirror}: {type(error).__name__}")
    raise FileNotFoundError(f"{advice}. Downloading {file} failed: {'; '.join(failures)}")
