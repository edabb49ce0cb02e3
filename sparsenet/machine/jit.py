"""The one way in which kernels are compiled and cached.

Numba's cache on disk notices an edit of the file that a function stands in, but not one of what it calls elsewhere.
Here the stamp of every cached kernel is that of all files with compiled code, so that kernels may call those of others.
"""

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from numba import config, njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc

# All files with compiled code: a test finds those that are missing here.
COMPILED = ("machine/*.py", "kernels/*.py", "engine/entry_points.py", "engine/peak.py")


@cache
def _stamp() -> str:
    """Digest of the sources of all kernels, and of whether they are compiled with checks."""
    digest, package = hashlib.sha256(str(config.BOUNDSCHECK).encode()), Path(__file__).parent.parent
    for path in sorted(path for pattern in COMPILED for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamped(compiled):
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = _stamp()
    return compiled


def kernel(function: Callable) -> Callable:
    """Compile a function of plain arrays on its first call, without the GIL, and cache it on disk where that can be.

    Where no folder can be written (a read-only installation without a home) it is compiled anew in each process.
    """
    try:
        return _stamped(njit(function, cache=True, nogil=True))
    except RuntimeError:  # "no locator available": Numba found no place for the cache
        return njit(function, nogil=True)


def inlined(function: Callable) -> Callable:
    """Compile a function as part of each that calls it: thin ones, which would otherwise be compiled twice."""
    return njit(function, inline="always")


def callback(signature: types.Type) -> Callable:
    """Compile a function now, into one with a C address that other kernels can call; cached like a kernel.

    This is `numba.cfunc`, which leaves no room between finding the cache and reading it to set the stamp. With
    `NUMBA_DISABLE_JIT=1` the function stays what it is.
    """

    def compile_now(function):
        if config.DISABLE_JIT:
            return function
        compiled = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
        with contextlib.suppress(RuntimeError):
            compiled.enable_caching()
        _stamped(compiled).compile()
        return compiled

    return compile_now
