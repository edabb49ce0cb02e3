"""The house: floors without circles, documented files and names, a light core, short files."""

import ast
import inspect
import subprocess
import sys
from dataclasses import asdict
from graphlib import CycleError, TopologicalSorter
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
    "verify": 5,
    "cli": 6,
    "__main__": 7,
}
PURE = {"allocation", "search", "granularity", "scores", "ties", "masks", "strategies", "schedules"}


def floor_of(path, package=PACKAGE):
    """First folder or file name below the package, for instance "nn"; "" for the package's own __init__."""
    first = path.relative_to(package).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_modules(path, package=PACKAGE):
    """Dotted names that a file imports: anywhere in it, so inside functions and for types too."""
    here = ("sparsenet", *path.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_files(path, package=PACKAGE):
    """The files of the package that a file imports, or imports a name from."""
    for module in imported_modules(path, package):
        top, *parts = module.split(".")
        if top == "sparsenet":
            stems = package.joinpath(*parts), package.joinpath(*parts[:-1])
            places = (place for stem in stems for place in (stem.with_suffix(".py"), stem / "__init__.py"))
            yield next(place for place in places if place.exists())


def wrong_imports(package):
    """(file, what it imports) where that does not stand on a lower floor, or in the same folder."""
    for path in sorted(package.rglob("*.py")):
        here = floor_of(path, package)
        for module in imported_modules(path, package):
            top, *parts = module.split(".")
            if top != "sparsenet" or not here or parts == ["__version__"]:
                continue
            there = parts[0] if parts else ""
            if there != here and FLOORS.get(there, 99) >= FLOORS[here]:
                yield path.relative_to(package).as_posix(), module


def find_circle(package):
    """Names of files that import each other in a circle, the first one again at the end; none where there is none."""
    graph = {path: set(imported_files(path, package)) for path in package.rglob("*.py")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [path.relative_to(package).as_posix() for path in error.args[1]]
    return []


@pytest.fixture
def build(tmp_path):
    """A function that makes a package of {path: source}."""

    def make(sources):
        for name, source in sources.items():
            path = tmp_path / "sparsenet" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return tmp_path / "sparsenet"

    return make


def test_every_file_has_a_floor():
    assert {floor_of(path) for path in FILES} == {"", *FLOORS}


def test_imports_only_go_down():
    assert list(wrong_imports(PACKAGE)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nn/layer.py", "from ..lab import costs"),  # up
        ("nn/layer.py", "from ..lab.costs import cost_report"),
        ("nn/layer.py", "import sparsenet.lab.costs"),
        ("nn/layer.py", "def f():\n    from ..lab.costs import cost_report"),
        ("nn/layer.py", "if TYPE_CHECKING:\n    from ..lab.costs import CostReport"),
        ("nn/layer.py", "from .. import cost_report"),  # past the floors, by the public name
        ("nn/layer.py", "import sparsenet"),
        ("pruning/masks.py", "from ..engine import plan"),  # two folders on one floor
        ("engine/plan.py", "from ..pruning.masks import make_masks"),
    ],
)
def test_imports_up_and_sideways_are_found(build, path, source):
    assert [where for where, _ in wrong_imports(build({path: source}))] == [path]


def test_imports_down_and_within_a_folder_are_allowed(build):
    sources = {
        "__init__.py": "from .lab import costs",
        "lab/costs.py": "from .. import __version__\nfrom ..nn.layer import Layer\nfrom .tables import row",
        "cli.py": "def f():\n    from .lab import costs",
    }
    assert list(wrong_imports(build(sources))) == []


def test_no_files_import_each_other():
    assert find_circle(PACKAGE) == []


@pytest.mark.parametrize(
    "back",
    [
        "from .first import name",
        "from . import first",
        "from ..lab.first import name",
        "from sparsenet.lab.first import name",
        "import sparsenet.lab.first",
        "def f():\n    from .first import name",
        "if TYPE_CHECKING:\n    from .first import name",
    ],
)
def test_circles_are_found(build, back):
    package = build({"lab/first.py": "from . import second", "lab/second.py": "from .third import name"})
    build({"lab/third.py": "import numpy\nfrom ..checks import check", "checks.py": ""})
    assert find_circle(package) == []
    build({"lab/third.py": back})
    circle = find_circle(package)
    assert sorted(circle[1:]) == ["lab/first.py", "lab/second.py", "lab/third.py"]
    assert circle[0] == circle[-1]


def test_no_file_imports_another_for_its_types_only():
    """Other packages it may: matplotlib is not there for everyone."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                assert "sparsenet" not in " ".join(map(ast.unparse, node.body)), path
                assert not any(isinstance(each, ast.ImportFrom) and each.level for each in node.body), path


def test_only_the_package_itself_imports_by_a_name_made_up_at_run_time():
    loaders = {"importlib", "importlib.import_module"}
    assert [path for path in FILES if loaders & set(imported_modules(path))] == [PACKAGE / "__init__.py"]


def test_every_file_says_what_it_is():
    sayings = [ast.get_docstring(ast.parse(path.read_text())) or "" for path in FILES]
    assert [path for path, saying in zip(FILES, sayings, strict=True) if len(saying) < 20] == []
    assert len(set(sayings)) == len(FILES)


def test_every_folder_says_its_floor():
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        saying = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert saying.startswith(f"Floor {FLOORS[folder.name]}: "), folder


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_pure_half_of_pruning_sees_arrays_only(name):
    allowed = {"checks", "criteria", *PURE}
    for module in imported_modules(PACKAGE / "pruning" / f"{name}.py"):
        if module.startswith("sparsenet."):
            parts = set(module.split(".")[1:])
            assert parts & allowed, f"{name} imports {module}"
            assert "nn" not in parts


def test_only_the_machine_uses_numba():
    users = {
        floor_of(path)
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
    optional = {"pooch", "matplotlib", "tqdm"}
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
        "print([m for m in ('numba', 'llvmlite', 'scipy', 'matplotlib', 'tqdm', 'pooch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    code = "import sys, sparsenet; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


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
        "image_rows.py",
        "maxpool_tile.py",
        "pointers.py",
        "register_tile.py",
        "stored_tile.py",
        "vector_copy.py",
        "vectors.py",
    }
    return (
        bool(decorators & {"kernel", "inlined"})
        or any(d.startswith("compiled_as") for d in decorators)
        or path.name in twins
    )


def test_public_functions_have_type_hints():
    """Methods that a base class declares, with its hints, may leave them out; kernels too."""
    inherited = {
        "forward",
        "set_gradients",
        "input_gradient",
        "parameters",
        "buffers",
        "config",
        "error",
        "generic_resolve",
    }
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


def test_every_public_function_of_pruning_has_an_example():
    for path in sorted((PACKAGE / "pruning").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert ">>>" in (ast.get_docstring(node) or ""), f"{path.name}: {node.name} has no example"


def test_files_and_functions_stay_short():
    for path in FILES:
        source = path.read_text()
        assert len(source.splitlines()) <= 400, f"{path} is asking to be split"
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef):
                body = function.body[1:] if ast.get_docstring(function) else function.body
                length = function.end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 40, f"{path.name}: {function.name} has a body of {length} lines"


def test_names_of_the_command_are_those_of_the_package():
    from sparsenet import cli
    from sparsenet.data import datasets
    from sparsenet.lab.experiment import Experiment

    options = next(each for each in cli.build_parser()._actions if each.dest == "command").choices["run"]._actions
    offered = {option.dest: option.choices for option in options if option.choices}
    tables = {"criterion": sn.scores.CRITERIA, "strategy": sn.strategies.STRATEGIES, "schedule": sn.schedules.SCHEDULES}
    tables |= {"model": sn.models.MODELS, "dataset": datasets.DATASETS}
    assert offered == {name: tuple(table) for name, table in tables.items()}
    for table in (sn.scores.CRITERIA, sn.models.MODELS):
        assert [function.__name__ for function in table.values()] == list(table)
    options = vars(cli.build_parser().parse_args(["run", "--data", "folder"]))
    chosen = {name: value for name, value in options.items() if name not in ("command", "out")}
    assert chosen == asdict(Experiment(data="folder")) | {"sparsity": None}  # which depends on the strategy
