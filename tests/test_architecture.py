"""The house: floors, documented names, a light core, short files."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sparsenet as sn

PACKAGE = Path(sn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    "checks": 0,
    "machine": 1,
    "kernels": 2,
    "nn": 3,
    "files": 4,
    "pruning": 4,
    "engine": 4,
    "data": 4,
    "lab": 5,
    "cli": 6,
    "__main__": 7,
}
PURE = {"scores", "masks", "strategies", "schedules"}


def house_of(path):
    """First folder or file name below the package, for instance "nn"; "" for the package's own __init__."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_modules(path):
    """Dotted names below `sparsenet` that a file imports."""
    package = ("sparsenet", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path):
    here = house_of(path)
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] != "sparsenet" or not here or parts[1].startswith("__"):
            continue
        assert parts[1] in FLOORS, f"{path.name} imports {module}: unknown floor"
        assert parts[1] == here or FLOORS[parts[1]] < FLOORS[here], f"{here} may not import {module}"


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_pure_half_of_pruning_sees_arrays_only(name):
    allowed = {"checks", *PURE}
    for module in imported_modules(PACKAGE / "pruning" / f"{name}.py"):
        if module.startswith("sparsenet."):
            parts = set(module.split(".")[1:])
            assert parts & allowed, f"{name} imports {module}"
            assert "nn" not in parts


def test_only_the_machine_uses_numba():
    users = {
        house_of(path)
        for path in FILES
        if {"numba", "llvmlite"} & {module.split(".")[0] for module in imported_modules(path)}
    }
    assert users == {"machine"}


def test_every_file_with_compiled_code_is_in_the_stamp_of_the_kernel_cache():
    """An edit of any of them must not meet machine code made before it."""
    from sparsenet.machine import jit

    stamped = {path for pattern in jit.COMPILED for path in PACKAGE.glob(pattern)}
    compilers = {f"sparsenet.machine.jit.{name}" for name in ("kernel", "inlined", "callback")}
    compilers |= {f"sparsenet.machine.pointers.{name}" for name in ("step", "tile_step")}
    modules = {"sparsenet.machine.jit", "sparsenet.machine.pointers"}  # taken whole, a use could not be told
    compiling = {path for path in FILES if (compilers | modules) & set(imported_modules(path))}
    assert {path.name for path in compiling} >= {"worker_pool.py", "pointers.py", "csr_loops.py", "entry_points.py"}
    assert compiling <= stamped, f"not in jit.COMPILED: {compiling - stamped}"
    assert all(list(PACKAGE.glob(pattern)) for pattern in jit.COMPILED)


def test_the_core_imports_only_numpy_scipy_numba():
    optional = {"pooch", "matplotlib"}
    for path in FILES:
        tops = {module.split(".")[0] for module in imported_modules(path)}
        foreign = (
            tops - set(sys.stdlib_module_names) - {"sparsenet", "numpy", "scipy", "numba", "llvmlite"}
        )  # the last is a part of Numba
        assert foreign <= optional, f"{path}: {foreign}"
        at_import = {
            alias.name.split(".")[0]
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
        }
        assert not at_import & optional, f"{path} loads {at_import & optional} at import"


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, sparsenet, sparsenet.cli\n"
        "sparsenet.cli.build_parser().format_help()\n"
        "print([m for m in ('numba', 'scipy', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    assert len(sn.__all__) > 30
    for name in sn.__all__:
        thing = getattr(sn, name)
        assert inspect.getdoc(thing), f"sparsenet.{name} has no documentation"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sn.nonsense  # noqa: B018


def public_functions():
    """(path, function, class or None) of every public function and method; those inside functions are not public."""
    for path in FILES:
        for top in ast.parse(path.read_text()).body:
            for node in (
                [top] if isinstance(top, ast.FunctionDef) else top.body if isinstance(top, ast.ClassDef) else []
            ):
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield path, node, top if isinstance(top, ast.ClassDef) else None


def is_compiled(path, function):
    """Whether a function is a kernel, or stands beside an intrinsic for runs without the JIT."""
    decorators = {ast.unparse(d) for d in function.decorator_list}
    twins = {
        "atomics.py",
        "gather.py",
        "maxpool_tile.py",
        "pointers.py",
        "register_tile.py",
        "vector_copy.py",
        "vectors.py",
    }
    return bool(decorators & {"kernel", "inlined"}) or path.name in twins


def test_public_functions_have_type_hints():
    """Methods that a base class declares, with its hints, may leave them out; kernels too."""
    inherited = {"forward", "set_gradients", "input_gradient", "parameters", "buffers", "config", "error"}
    for path, function, owner in public_functions():
        if owner is not None and owner.name != "Layer" and function.name in inherited:
            continue
        if path.parent.name in ("kernels", "machine", "engine") and (owner is None and is_compiled(path, function)):
            continue
        for argument in function.args.args + function.args.kwonlyargs:
            assert argument.annotation or argument.arg in ("self", "cls"), (
                f"{path.name}: {function.name}({argument.arg})"
            )
        assert function.returns is not None, f"{path.name}: {function.name} -> ?"


def test_files_and_functions_stay_short():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 420, f"{path} is asking to be split"
    for path, function, _ in public_functions():
        body = function.body[1:] if ast.get_docstring(function) else function.body
        length = function.end_lineno - body[0].lineno + 1 if body else 0
        assert length <= 45, f"{path.name}: {function.name} has a body of {length} lines"


def test_names_of_the_command_are_those_of_the_package():
    from sparsenet import cli
    from sparsenet.data import datasets

    assert datasets.DATASETS == cli.DATASETS
    assert tuple(sn.strategies.STRATEGIES) == cli.STRATEGIES
    assert tuple(sn.schedules.SCHEDULES) == cli.SCHEDULES
    assert all(callable(getattr(sn.models, name)) for name in cli.MODELS)
    assert all(callable(getattr(sn.scores, name)) for name in cli.CRITERIA)
