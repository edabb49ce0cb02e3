"""The one way in which kernels are compiled and cached.

Numba's cache on disk notices an edit of the file that a function stands in, but not one of what it calls elsewhere, it
fails at every start where a file of it is damaged, and it ends the run where a file cannot be written. `KernelCache`
takes its place: a file that is not exactly what this source made is compiled anew and replaced, and where nothing can
be written the run goes on without a cache, with one warning.

Of Numba's inside it uses the attribute `_cache` of compiled functions, the class that finds the folder and serialises
machine code (`CompileResultCacheImpl`), and `CFunc`.
"""

import contextlib
import hashlib
import os
import pickle
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import __version__, config, njit, types
from numba.core import sigutils
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.ccallback import CFunc
from numba.core.serialize import dumps

from ..checks import warn_caller

# All files with compiled code: a test finds those that are missing here.
COMPILED = ("machine/*.py", "kernels/*.py", "engine/entry_points.py", "engine/records.py", "engine/peak.py")
DIGEST_BYTES = hashlib.sha256().digest_size
_warned = False


@cache
def _stamp() -> str:
    """Digest of the sources of all kernels, Numba's version, and whether they are compiled with checks."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256(f"{__version__} {config.BOUNDSCHECK}".encode())
    for path in sorted(path for pattern in COMPILED for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _warn_uncached(problem: str) -> None:
    """Say once in a process that nothing is cached: it costs seconds at each start, and nothing else."""
    global _warned
    if not _warned:
        _warned = True
        warn_caller(
            f"compiled kernels cannot be cached, each process compiles them anew: {problem}. "
            f"NUMBA_CACHE_DIR can name another folder",
            RuntimeWarning,
            inside=(str(Path(numba.__file__).parent),),
        )


class KernelCache(NullCache):
    """The machine code of one function: a file for each signature and processor, in the folder that Numba chooses.

    A file is a SHA-256 and the pickled code. The digest is that of the stamp, the signature and the code, so that what
    is stale, cut, or otherwise damaged is one case, known before anything is unpickled. There is no index, which
    several processes would have to change at once: each file is written beside its place and renamed.
    """

    def __init__(self, function: Callable):
        self._function = function
        self._files = CompileResultCacheImpl(function)
        self._stamp = _stamp()  # now: a file edited later is not what this process runs

    @property
    def cache_path(self) -> str:
        """The folder."""
        return self._files.locator.get_cache_path()

    def _find(self, signature: Any, codegen: Any) -> tuple[Path, bytes]:
        """(path of the code for the signature, what its digest covers besides the code)."""
        closure = dumps([cell.cell_contents for cell in self._function.__closure__ or ()])
        key = hashlib.sha256(f"{signature} {codegen.magic_tuple()}".encode() + closure).hexdigest()
        return Path(self.cache_path) / f"{self._files.filename_base}.{key[:16]}.nbc", f"{self._stamp} {key}".encode()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature, or None where it must be compiled."""
        target_context.refresh()
        path, origin = self._find(sig, target_context.codegen())
        try:
            content = path.read_bytes()
            digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            whole = digest == hashlib.sha256(origin + code).digest()
            return self._files.rebuild(target_context, pickle.loads(code)) if whole else None
        except Exception:  # whatever unpickling raises, say of a class that is gone: compiling is always right
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, where that can be."""
        if not self._files.check_cachable(data):
            return
        path, origin = self._find(sig, data.codegen)
        code = dumps(self._files.reduce(data))
        temporary = path.with_name(f".{uuid.uuid4().hex[:16]}.tmp")
        try:
            self._files.locator.ensure_cache_path()
            temporary.write_bytes(hashlib.sha256(origin + code).digest() + code)
            os.replace(temporary, path)
        except OSError as error:
            _warn_uncached(f"{path}: {error.strerror or error}")
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


class NoCache(NullCache):
    """For functions that Numba finds no folder for, as in a read-only installation without a home."""

    def __init__(self, problem: str):
        self._problem = problem

    def save_overload(self, sig: Any, data: Any) -> None:
        """Nothing is kept."""
        _warn_uncached(self._problem)


def _cached(compiled: Any, function: Callable) -> Any:
    try:
        compiled._cache = KernelCache(function)
    except RuntimeError as error:  # "no locator available"
        compiled._cache = NoCache(str(error))
    return compiled


def kernel(function: Callable) -> Callable:
    """Compile a function of plain arrays on its first call, without the GIL, and cache it on disk where that can be."""
    compiled = njit(function, nogil=True)
    return compiled if compiled is function else _cached(compiled, function)  # the same with NUMBA_DISABLE_JIT=1


def inlined(function: Callable) -> Callable:
    """Compile a function as part of each that calls it: thin ones, which would otherwise be compiled twice."""
    return njit(function, inline="always")


def callback(signature: types.Type) -> Callable:
    """Compile a function now, into one with a C address that other kernels can call; cached like a kernel.

    This is `numba.cfunc`, which leaves no room between making the function and reading its cache. With
    `NUMBA_DISABLE_JIT=1` the function stays what it is.
    """

    def compile_now(function):
        if config.DISABLE_JIT:
            return function
        compiled = _cached(CFunc(function, sigutils.normalize_signature(signature), locals={}, options={}), function)
        compiled.compile()
        return compiled

    return compile_now
