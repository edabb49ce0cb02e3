"""The cache of compiled kernels: hits in a new process, misses after an edit or damage, and what cannot be written."""

import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from numba import config, types

import sparsenet as sn
from sparsenet.machine import jit

SOURCE = """
def double(x):
    return 2 * x


def shifted(by):
    def add(x):
        return x + by

    return add
"""
COMMAND = """
from sparsenet.machine.jit import kernel
from functions import double
double = kernel(double)
print(double(1.5), double(3), sum(double.stats.cache_hits.values()))
"""
QUICK_KERNEL = """
import numpy as np; from sparsenet.kernels import im2col_conv as conv
one = np.ones((1, 1, 3, 3), np.float32)
conv.conv2d(one, one, np.zeros(1, np.float32), (1, 1), (0, 0))
print(sum(conv._forward.stats.cache_hits.values()), sum(conv._forward.stats.cache_misses.values()))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of one's own, in this process and in those that it starts; nothing warned of yet."""
    (tmp_path / "functions.py").write_text(SOURCE)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(sn.__file__).parent.parent)]))
    monkeypatch.setattr(jit, "_warned", False)
    return tmp_path / "cache"


@pytest.fixture
def functions(folder, monkeypatch):
    spec = importlib.util.spec_from_file_location("functions", folder.parent / "functions.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "functions", module)  # older Numbas look for it when they read the cache
    spec.loader.exec_module(module)
    return module


def start(code, **options):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, **options)


def finish(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.strip(), error


def hits(function, *calls):
    """Compile anew, as a new process would; (results, hits)."""
    compiled = jit.kernel(function)
    return [compiled(x) for x in calls], sum(compiled.stats.cache_hits.values())


def cached(folder):
    return sorted(folder.rglob("*.nbc"))


def test_the_cache_on_disk_hits_in_a_new_process(folder):
    assert [finish(start(QUICK_KERNEL)) for _ in range(2)] == [("0 1", ""), ("1 0", "")]


def test_an_edit_of_any_kernel_file_is_noticed(tmp_path, folder):
    """Numba itself looks at the file of the function only; kernels call those of other files."""
    package = tmp_path / "sparsenet"
    shutil.copytree(Path(sn.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    outputs = []
    for edit in (False, False, True):
        if edit:
            with open(package / "machine" / "vectors.py", "a") as file:
                file.write("# edited\n")
        outputs.append(finish(start(QUICK_KERNEL, cwd=tmp_path)))
    assert outputs == [("0 1", ""), ("1 0", ""), ("0 1", "")]


def test_each_signature_and_each_closure_has_a_file(folder, functions):
    assert hits(functions.double, 1.5, 3) == ([3.0, 6], 0)
    assert len(cached(folder)) == 2
    assert hits(functions.double, 3, 1.5, 1j) == ([6, 3.0, 2j], 2)
    assert len(cached(folder)) == 3
    for expected in (0, 1):
        assert hits(functions.shifted(1), 3) == ([4], expected)
        assert hits(functions.shifted(10), 3) == ([13], expected)
    assert len(cached(folder)) == 5


def test_the_stamp_knows_what_the_code_was_made_with(folder, functions, monkeypatch):
    hits(functions.double, 3)
    for target, name, value in ((config, "BOUNDSCHECK", 1), (jit, "__version__", "0.1")):
        jit._stamp.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            assert [hits(functions.double, 3) for _ in range(2)] == [([6], 0), ([6], 1)]
        jit._stamp.cache_clear()
    assert hits(functions.double, 3) == ([6], 0)  # the file is the last writer's: folders do not grow with versions
    assert len(cached(folder)) == 1


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut within the digest": lambda content: content[:20],
    "the digest alone": lambda content: content[:32],
    "garbage": lambda content: b"garbage",
    "longer": lambda content: content + b"\0",
    "one bit in the code": lambda content: content[:-900] + bytes([content[-900] ^ 1]) + content[-899:],
    "one bit in the digest": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "zeros, as after a crash": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_compiled_anew_and_replaced(folder, functions, damage):
    hits(functions.double, 3)
    (path,) = cached(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert hits(functions.double, 3) == ([6], 0)
    assert hits(functions.double, 3) == ([6], 1)
    assert cached(folder) == [path]


def test_the_code_of_another_signature_is_not_taken(folder, functions):
    hits(functions.double, 3)
    (integers,) = cached(folder)
    hits(functions.double, 1.5)
    (floats,) = {*cached(folder)} - {integers}
    shutil.copy(floats, integers)
    assert hits(functions.double, 3) == ([6], 0)
    assert hits(functions.double, 3) == ([6], 1)


def test_code_that_cannot_be_rebuilt_is_compiled_anew(folder, functions, monkeypatch):
    def reduce(self, data):
        return functions.double  # whole by its digest, and no compiled function

    with monkeypatch.context() as patch:
        patch.setattr(jit.CompileResultCacheImpl, "reduce", reduce)
        hits(functions.double, 3)
    assert hits(functions.double, 3) == ([6], 0)
    assert hits(functions.double, 3) == ([6], 1)


def test_a_callback_is_cached_and_recovers_likewise(folder, functions):
    make = jit.callback(types.int64(types.int64))
    assert [make(functions.double).cache_hits for _ in range(2)] == [0, 1]
    (path,) = cached(folder)
    path.write_bytes(path.read_bytes()[:-1])
    again = make(functions.double)
    assert (again.cache_hits, again.ctypes(21)) == (0, 42)
    assert make(functions.double).cache_hits == 1


def test_a_folder_that_is_removed_is_made_again(folder, functions):
    compiled = jit.kernel(functions.double)
    compiled(1.5)
    shutil.rmtree(folder)
    assert compiled(3) == 6
    assert hits(functions.double, 1.5, 3) == ([3.0, 6], 1)


def test_processes_that_compile_at_once_leave_whole_files(folder):
    outputs = [finish(process) for process in [start(COMMAND) for _ in range(3)]]
    assert {error for _, error in outputs} == {""}
    assert {out.rsplit(" ", 1)[0] for out, _ in outputs} == {"3.0 6"}
    assert finish(start(COMMAND)) == ("3.0 6 2", "")
    assert sorted(path.suffix for path in folder.rglob("*") if path.is_file()) == [".nbc", ".nbc"]


def test_a_folder_in_the_place_of_a_file_is_told_once_and_left(folder, functions):
    hits(functions.double, 3, 1.5)
    paths = cached(folder)
    for path in paths:
        path.unlink()
        path.mkdir()
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be cached") as warned:
        assert hits(functions.double, 3, 1.5) == ([6, 3.0], 0)
    assert len(warned) == 1
    assert any(str(path) in str(warned[0].message) for path in paths)
    assert sorted(folder.rglob("*"))[1:] == paths  # no temporary file stays


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_a_folder_that_became_read_only_is_told_once(folder, functions, monkeypatch, error):
    def refuse(path, exist_ok):
        raise error

    compiled = jit.kernel(functions.double)
    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.warns(RuntimeWarning, match=f"{folder}.*{error.strerror}.*NUMBA_CACHE_DIR") as warned:
        assert [compiled(3), compiled(1.5)] == [6, 3.0]
    assert len(warned) == 1


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_is_told_once_and_leaves_nothing(folder):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    out, error = finish(start(limit + COMMAND))
    assert out == "3.0 6 0"
    assert error.count("RuntimeWarning: compiled kernels cannot be cached") == error.count("Warning") == 1
    assert "File too large" in error
    assert str(folder) in error
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert finish(start(COMMAND)) == ("3.0 6 0", "")
    assert finish(start(COMMAND)) == ("3.0 6 2", "")


def test_without_any_folder_a_kernel_compiles_and_says_so_once(functions, monkeypatch):
    monkeypatch.setattr(jit.CompileResultCacheImpl, "_locator_classes", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = jit.kernel(functions.double)  # nothing to tell of before something is compiled
    with pytest.warns(RuntimeWarning, match="no locator available") as warned:
        assert [compiled(3), compiled(1.5)] == [6, 3.0]
    assert [told.filename for told in warned] == [__file__]  # the line that called, not one of Numba or of the package
    assert jit.callback(types.int64(types.int64))(functions.double).ctypes(21) == 42


def test_a_file_where_the_folder_should_be_leaves_numbas_other_folders(folder, functions):
    folder.write_text("in the way")
    assert hits(functions.double, 3) == ([6], 0)
    assert hits(functions.double, 3) == ([6], 1)
    assert folder.read_text() == "in the way"
    assert len(cached(folder.parent / "__pycache__")) == 1


def test_without_the_jit_a_kernel_is_its_function(functions, monkeypatch):
    monkeypatch.setattr(config, "DISABLE_JIT", True)
    assert jit.kernel(functions.double) is functions.double
    assert jit.callback(types.int64(types.int64))(functions.double) is functions.double
