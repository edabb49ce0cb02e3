"""Formulas against their oracles, with more seeds; every formula has an entry, and every entry can fail."""

import ast
import inspect
import json
import re
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import sparray

import sparsenet as sn
from sparsenet import cli
from sparsenet.nn.layer import Layer
from sparsenet.nn.network import Network
from sparsenet.pruning.dependency import DependencyGroups
from sparsenet.verify import runner
from sparsenet.verify.entry import EXACT, ROUNDING, Entry, difference, plain
from sparsenet.verify.report import format_entry, format_json, format_results
from sparsenet.verify.runner import ENTRIES, run_entry, select

PACKAGE = Path(sn.__file__).parent
NAMES = [entry.name for entry in ENTRIES]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_formula_and_oracle_agree(entry):
    for seed in (1, 2, 3):
        result = run_entry(entry, seed)
        assert result.ok, format_entry(result)


# Every entry can fail.


def spoiled(value):
    """The same with one number, the last, wrong by 1 % of the largest; another truth; another text."""
    if isinstance(value, np.ndarray):
        value = value.copy()
        if value.dtype == bool:
            value.reshape(-1)[-1:] ^= True
        elif value.dtype.kind in "iu":
            value.reshape(-1)[-1:] += 1
        else:
            finite = np.abs(value[np.isfinite(value)])
            value.reshape(-1)[-1:] += 0.01 * (finite.max(initial=0) or 1)
        return value
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.01 + (value == 0)
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bytes):
        return value[:-1] + bytes([(value[-1] + 1) % 256]) if value else b"x"
    if isinstance(value, DependencyGroups):
        return value[1:]
    if isinstance(value, dict):
        return {key: spoiled(part) for key, part in value.items()}
    if isinstance(value, list):
        return value[1:] if value and isinstance(value[0], str) else [spoiled(part) for part in value]
    if isinstance(value, tuple):
        parts = [spoiled(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return spoiled_object(value)


def spoiled_object(value):
    if isinstance(value, sparray):
        value = value.copy()
        value.data = spoiled(value.data)
        return value
    if isinstance(value, Network):
        value = value.copy()
        parameter = list(value.parameters().values())[-1]
        parameter.value = spoiled(parameter.value)
        return value
    if is_dataclass(value):  # a folded layer
        return replace(value, bias=spoiled(value.bias))
    assert callable(value), type(value)  # a plan, an augmentation, a schedule
    return lambda *arguments: spoiled(value(*arguments))


def wrong_function(function):
    def wrong(*arguments, **options):
        if function is sn.save_network:
            return function(arguments[0], spoiled(arguments[1]))
        result = function(*arguments, **options)
        if result is not None:
            return spoiled(result)
        y = next(a for a in reversed(arguments) if isinstance(a, np.ndarray))
        y[...] = spoiled(y)
        return None

    return wrong


def wrong_classes(cls, method):
    """Subclasses one method of which is wrong; of a backward pass each half alone."""

    def wrong_dx(self, dy):
        return spoiled(cls.backward(self, dy))

    def wrong_gradient(self, dy):
        dx = cls.backward(self, dy)
        parameter = list(self.parameters().values())[-1]
        parameter.set_grad(spoiled(parameter.grad))
        return dx

    def wrong_step(self, parameter, lr):
        cls.update(self, parameter, 1.01 * lr)

    if method == "backward":
        halves = [wrong_dx] if cls.parameters is Layer.parameters else [wrong_dx, wrong_gradient]
        methods = [{"backward": half} for half in halves]
    elif method == "update":
        methods = [{"update": wrong_step}]
    else:
        methods = [{method: lambda self, *a, **o: spoiled(getattr(cls, method)(self, *a, **o))}]
    return [type(cls.__name__, (cls,), wrong) for wrong in methods]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_wrong_function_is_found(entry):
    if inspect.isclass(entry.function):
        wrong = wrong_classes(entry.function, entry.name.split(".")[1])
    else:
        wrong = [wrong_function(entry.function)]
    for function in wrong:
        result = run_entry(replace(entry, function=function))
        assert not result.ok
        assert result.difference > entry.tolerance.limit
        assert not result.error or entry.kind == "file", result.error  # a wrong code may be none at all


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_oracle_is_asked(entry):
    """A wrong oracle is found as well: nothing is compared with itself."""

    def wrong(*arguments, **options):
        return spoiled(entry.oracle(*arguments, **options))

    assert not run_entry(replace(entry, oracle=wrong)).ok


def test_oracles_share_no_code_with_the_package():
    """They import NumPy, the standard library and each other: nothing of what they check."""
    folder = PACKAGE / "verify" / "definitions"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.ImportFrom) or node.level <= 1, path
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith("sparsenet")], path
    assert {Path(inspect.getfile(entry.oracle)).parent for entry in ENTRIES} == {folder}


# Every formula has an entry.

FOLDERS = ("nn", "kernels", "pruning", "files", "engine")
FORMULA = re.compile(r"[\w\])}'] (=|<-|\+=|~|>=|<) [\w(|\[-]")  # y = ..., theta <- ..., w ~ N(...), I < ...
REGISTERS = "an operation on registers: tests/test_sparse.py holds each to its form in NumPy"
LAYOUT = "says where numbers lie, and makes none: every plan reads and writes by it"
WITHOUT = {
    "kernels.lane_copy": REGISTERS,
    "kernels.lane_sums": REGISTERS,
    "kernels.tile": REGISTERS,
    "kernels.depthwise_conv.add_row_ends": REGISTERS,
    "kernels.depthwise_conv.store_row_starts": REGISTERS,
    "kernels.pooling.max_of_squares": REGISTERS,
    "kernels.input_packing": LAYOUT,
    "kernels.weight_packing": LAYOUT,
    "kernels.tiling": LAYOUT,
    "engine.entry_points.addition": "calls merging.add_two and merging.add_to, which are verified through it",
    "nn.branching.resnet20": "an architecture",
}
CRITERIA = tuple(f"pruning.criteria.{part}" for part in ("weights", "gradients", "activations", "curvature"))
# Of these every public function is a formula, however it says so.
WHOLE = ("nn.losses", "nn.augment", "pruning.schedules", *CRITERIA, "files.codecs", "kernels.activation")


def formulas():
    """(module.function, whether it has to be verified) of every public function of the folders."""
    for path in sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                text = (ast.get_docstring(node) or "").split("Examples\n---")[0]
                text = re.sub(r"Parameters\n-+\n(.|\n)*?(?=\n\n\w+\n--|$)", "", text)
                if module in WHOLE or FORMULA.search(text):
                    yield f"{module}.{node.name}"


def verified():
    functions = [plain(f) for entry in ENTRIES for f in (entry.function, entry.at) if f is not None]
    return {f"{f.__module__.removeprefix('sparsenet.')}.{getattr(f, '__qualname__', '')}" for f in functions}


def test_every_formula_is_verified():
    found, known = set(formulas()), verified()
    assert len(found) > 90
    excused = {name for name in found for module in WITHOUT if name == module or name.startswith(f"{module}.")}
    assert found - known - excused == set()


def test_every_exception_is_needed():
    left = set(formulas()) - verified()
    for module in WITHOUT:
        assert [name for name in left if name == module or name.startswith(f"{module}.")], module


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_every_layer_is_verified_forward_and_backward():
    own = {
        cls.__name__
        for cls in subclasses(Layer)
        if cls.__module__.startswith("sparsenet.")
        and vars(sn).get(cls.__name__, getattr(sn, cls.__name__, None)) is cls
    }
    assert len(own) >= 13
    assert {f"{name}.{half}" for name in own for half in ("forward", "backward")} <= set(NAMES)


def test_every_optimizer_and_every_name_of_the_tables_is_verified():
    tables = {"scores": sn.scores.CRITERIA, "schedules": sn.schedules.SCHEDULES}
    names = {f"{module}.{function.__name__}" for module, table in tables.items() for function in table.values()}
    names |= {f"strategies.{name}" for name in sn.strategies.STRATEGIES}
    assert names | {"SGD.update", "Adam.update"} <= set(NAMES)


def test_names_are_unique_and_entries_are_complete():
    assert len(set(NAMES)) == len(NAMES)
    for entry in ENTRIES:
        assert entry.source, entry.name
        assert len(entry.text) > 5, entry.name
        assert re.fullmatch(r"sparsenet/\w+(/\w+)*\.py:\d+", entry.place), entry.name


# How far apart.


@pytest.mark.parametrize(
    ("value", "expected", "apart"),
    [
        (1.0, 1.0, 0.0),
        ([1.0, 2.0], [1.0, 4.0], 0.5),  # of numbers one by one
        (np.array([1.0, 2.0]), np.array([1.0, 4.0]), 0.5),  # of the largest
        (np.array([3.0, 4.0]), np.array([1.0, 4.0]), 0.5),
        (np.array([2e-6]), np.array([1e-6]), 1e-3),  # absolute, in units of 1e-3
        (np.array([True, False]), np.array([True, True]), 1.0),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), 0.0),
        (np.array([np.nan]), np.array([0.0]), np.inf),
        (np.array([np.inf]), np.array([-np.inf]), np.inf),
        (np.zeros(2), np.zeros(3), np.inf),
        (np.zeros((1, 2)), np.zeros(2), np.inf),
        (None, np.zeros(2), np.inf),
        ({"a": 1.0}, {"a": 1.0}, 0.0),
        ({"a": 1.0}, {"b": 1.0}, np.inf),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, 0.5),
        ((1.0, 2.0), (1.0,), np.inf),
        (b"a", b"a", 0.0),
        ("a", "b", np.inf),
        ([], [], 0.0),
    ],
)
def test_difference(value, expected, apart):
    assert difference(value, expected) == pytest.approx(apart)


def test_arguments_depend_on_the_name_and_the_seed_alone():
    (entry,) = select(["scores.taylor"])
    one, again, other = run_entry(entry, 1), run_entry(entry, 1), run_entry(entry, 2)
    assert np.array_equal(one.comparisons[0][1], again.comparisons[0][1])
    assert not np.array_equal(one.comparisons[0][1], other.comparisons[0][1])
    renamed = run_entry(replace(entry, name="other"), 1)
    assert not np.array_equal(one.comparisons[0][1], renamed.comparisons[0][1])


# The command.


def broken(name):
    """All entries, the function of one of them with its sign wrong."""
    return tuple(
        replace(entry, function=lambda *arguments, f=entry.function: -f(*arguments)) if entry.name == name else entry
        for entry in ENTRIES
    )


def test_select_by_full_name_part_and_case():
    assert [entry.name for entry in select(["scores.taylor"])] == ["scores.taylor"]
    assert [entry.name for entry in select(["TAYLOR"])] == ["scores.taylor"]
    assert [entry.name for entry in select(["relu"])] == ["ReLU.forward", "ReLU.backward", "activation.relu"]
    assert [entry.name for entry in select(["adam", "taylor", "Adam.update"])] == ["Adam.update", "scores.taylor"]
    assert select([]) == list(ENTRIES)


def test_the_table(capsys):
    assert cli.main(["verify"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["formula", "where", "source", "oracle", "difference", "ok"]
    assert [line.split()[0] for line in lines[1 : len(ENTRIES) + 1]] == NAMES
    assert all(line.endswith(" ok") for line in lines[1 : len(ENTRIES) + 1])
    assert f"{len(ENTRIES)} of {len(ENTRIES)} formulas agree with their oracles" in lines[-1]
    assert err == ""


def test_one_in_full(capsys):
    assert cli.main(["verify", "taylor"]) == 0
    out = capsys.readouterr().out
    line = inspect.getsourcelines(sn.scores.taylor)[1]
    assert "I = |theta dL/dtheta|" in out
    assert f"code:       sparsenet/pruning/criteria/gradients.py:{line}\n" in out
    assert "oracle:     sparsenet/verify/definitions/criteria_article.py:" in out
    code, oracle = re.search(r"  code    (.+)\n  oracle  (.+)\n", out).groups()
    assert code == oracle
    assert len(re.findall(r"\d\.\d{6,}", code)) >= 3
    assert out.endswith("\nok\n")


def test_the_seed_changes_the_digits(capsys):
    shown = []
    for seed in ("0", "0", "1"):
        assert cli.main(["verify", "taylor", "--seed", seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize("name", ["losses.accuracy", "scores.taylor"])
def test_a_formula_that_does_not_hold(capsys, monkeypatch, name):
    monkeypatch.setattr(runner, "ENTRIES", broken(name))
    assert cli.main(["verify", "losses", "taylor"]) == 1
    assert capsys.readouterr().out.count("FAILED") == 1
    results = runner.run(select(["losses", "taylor"]))
    table = format_results(results)
    assert re.search(rf"^{name} .* FAILED$", table, re.MULTILINE)
    assert re.search(rf"^{name}: .* in the code, .* by the oracle$", table, re.MULTILINE)
    assert f"{len(results) - 1} of {len(results)} formulas agree" in table
    content = json.loads(format_json(results))
    assert not content["ok"]
    assert [record["name"] for record in content["formulas"] if not record["ok"]] == [name]


def test_an_error_is_told_and_the_others_run(capsys, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("by nothing")

    (entry,) = select(["taylor"])
    entries = (replace(entry, function=fail), *select(["l1"]))
    monkeypatch.setattr(runner, "ENTRIES", entries)
    assert cli.main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "scores.taylor: ZeroDivisionError: by nothing" in out
    assert "1 of 2 formulas agree" in out
    assert json.loads(format_json(runner.run(entries)))["formulas"][0]["largest_difference"] is None


def test_an_entry_that_compares_nothing_is_not_ok():
    entry = Entry("none", "none", abs, abs, lambda function, oracle, rng: [], "none")
    assert not run_entry(entry).ok
    assert "none: nothing was compared" in format_results([run_entry(entry)])


@pytest.mark.parametrize(
    ("name", "like"), [("tayler", "like it are scores.taylor"), ("qqqqqq", "without a name lists all")]
)
def test_an_unknown_name(capsys, name, like):
    assert cli.main(["verify", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sparsenet: error: no formula is called {name!r}; ")
    assert like in err
    assert err.count("\n") == 1


def test_json_to_a_file_and_to_standard_output(tmp_path, capsys):
    path = tmp_path / "verify.json"
    assert cli.main(["verify", "losses", "--json", str(path)]) == 0
    assert "losses.accuracy (loss)" in capsys.readouterr().out
    assert cli.main(["verify", "losses", "--json", "-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads(path.read_text())
    for content in (printed, written):
        assert content["ok"] is True
        for record in content["formulas"]:
            assert record.pop("seconds") >= 0
    assert printed == written
    record = next(r for r in written["formulas"] if r["name"] == "losses.accuracy")
    assert (record["kind"], record["largest_difference"], record["tolerance"]) == ("loss", 0.0, EXACT.limit)
    assert record["where"].startswith("sparsenet/nn/losses.py:")


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run_entry", None)
    assert cli.main(["verify", "--json", str(tmp_path / "none" / "v.json")]) == 2
    assert "no such folder" in capsys.readouterr().err


# A user's own.


class Swish(Layer):
    """y = x / (1 + exp(-x)), its gradient right, or without the second term."""

    def __init__(self, right=True):
        self.right = right

    def forward(self, x, training=False):
        self.saved = x
        return x / (1 + np.exp(-x))

    def input_gradient(self, dy):
        s = 1 / (1 + np.exp(-self.saved))
        return dy * (s + self.saved * s * (1 - s) * self.right)


def test_gradients_of_a_layer_of_ones_own(rng):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    differences = sn.verify.gradients(Swish(), x)
    assert list(differences) == ["dx"]
    assert differences["dx"] < 1e-8
    assert re.fullmatch(r"dx: \d\.\de-\d+", str(differences))
    with pytest.raises(AssertionError, match=r"the gradient 'dx' is wrong: at \[\d, \d\] backward says .*, central"):
        sn.verify.gradients(Swish(right=False), x)


def test_gradients_of_every_parameter_are_checked_and_nothing_is_changed(rng):
    class Doubled(sn.Linear):
        def set_gradients(self, dy):
            super().set_gradients(dy)
            self.bias.grad = 2 * self.bias.grad

    layer = Doubled(3, 2)
    x = rng.standard_normal((2, 3))
    before = {name: parameter.value.copy() for name, parameter in layer.parameters().items()}
    with pytest.raises(AssertionError, match="the gradient 'bias' is wrong"):
        sn.verify.gradients(layer, x)
    for name, parameter in layer.parameters().items():
        assert parameter.dtype == np.float32
        assert np.array_equal(parameter.value, before[name])
        assert not parameter.grad.any()


def test_gradients_of_a_gradient_of_the_wrong_shape(rng):
    class Flat(Swish):
        def input_gradient(self, dy):
            return super().input_gradient(dy).ravel()

    with pytest.raises(AssertionError, match=r"the gradient 'dx' has shape \(6,\), and what it belongs to \(2, 3\)"):
        sn.verify.gradients(Flat(), rng.standard_normal((2, 3)))


def test_gradients_of_several_inputs_of_training_of_masks_of_a_network(rng):
    a, b = rng.standard_normal((2, 2, 3))
    assert list(sn.verify.gradients(sn.Add(), (a, b))) == ["dx", "dx2"]
    assert max(sn.verify.gradients(sn.Dropout(0.5), a, training=True).values()) < 1e-8
    norm = sn.BatchNorm(3)
    assert list(sn.verify.gradients(norm, a, training=True)) == ["dx", "gamma", "beta"]
    assert not norm.running_mean.any()
    layer = sn.Linear(3, 2, seed=1)
    layer.set_mask(np.array([[True, False, True], [False, True, True]]))
    assert list(sn.verify.gradients(layer, a)) == ["dx", "weight", "bias"]
    network = sn.chain({"fc1": sn.Linear(3, 4), "swish": Swish(), "fc2": sn.Linear(4, 1)})
    assert list(sn.verify.gradients(network, a)) == ["dx", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


@pytest.mark.parametrize(
    ("layer", "x", "options", "error", "message"),
    [
        ("relu", np.zeros((1, 2)), {}, TypeError, "layer must be a Layer or a Network, not 'relu'"),
        (Swish(), [[1.0]], {}, TypeError, "x must be a NumPy array, not list"),
        (Swish(), np.zeros((1, 2), int), {}, TypeError, "x must be float32 or float64"),
        (Swish(), np.zeros((1, 2)), {"tolerance": 0}, ValueError, "tolerance must be a finite number > 0"),
    ],
)
def test_gradients_refuses(layer, x, options, error, message):
    with pytest.raises(error, match=message):
        sn.verify.gradients(layer, x, **options)


@pytest.fixture
def regression(rng):
    """A linear function of which the deletion of a weight is worked out by hand."""
    network = sn.chain({"fc": sn.Linear(3, 1)})
    network["fc"].set_weight(np.array([[3.0, -1.0, 2.0]]))
    return network, (np.eye(3), np.zeros((3, 1)))


def test_a_criterion_against_the_true_change_of_the_loss(regression):
    """L = (9 + 1 + 4) / 3: deleting a weight takes a third of its square."""
    network, data = regression
    settings = {"loss": sn.losses.mean_squared_error}
    report = sn.verify.criterion(sn.scores.l2, network, data, **settings)
    assert (report.layers, report.overall, report.units) == ({"fc": pytest.approx(1)}, pytest.approx(1), 3)

    def reverse(weight):
        return -np.abs(weight)

    def own(weight):  # ranks 3, -1, 2 as 1, 3, 2: rho = 1 - 6 (4 + 4 + 0) / (3 (9 - 1)) = -1
        return np.array([[0.0, 2.0, 1.0]])

    assert sn.verify.criterion(reverse, network, data, **settings).overall == pytest.approx(-1)
    assert sn.verify.criterion(own, network, data, **settings).overall == pytest.approx(-1)
    middle = sn.verify.criterion(lambda weight: np.array([[1.0, 0.0, 2.0]]), network, data, **settings)
    assert middle.overall == pytest.approx(0.5)  # 1 - 6 (1 + 1) / 24
    assert "fc           0.500" in str(middle)
    constant = sn.verify.criterion(lambda weight: np.ones((1, 3)), network, data, **settings)
    assert np.isnan(constant.overall)
    assert network["fc"].weight.value.tolist() == [[3.0, -1.0, 2.0]]
    assert network.dtype == np.float32


def test_a_criterion_of_filters(rng):
    """Three outputs of a linear function of one-hot inputs: deleting one takes the sum of its squares, by 9."""
    network = sn.chain({"fc": sn.Linear(3, 3)})
    network["fc"].set_weight(np.array([[3.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]))  # 9, 12 and 3
    data, settings = (np.eye(3), np.zeros((3, 3))), {"loss": sn.losses.mean_squared_error, "granularity": sn.Filter()}
    assert sn.verify.criterion(sn.scores.l2, network, data, **settings).overall == pytest.approx(1)
    report = sn.verify.criterion(sn.scores.l1, network, data, **settings)  # 3, 6 and 3: ranks 1.5, 3, 1.5
    assert report.overall == pytest.approx(np.corrcoef([1.5, 3, 1.5], [2, 3, 1])[0, 1])
    assert report.units == 3


def test_taylor_ranks_better_than_chance(rng):
    network = sn.chain({"fc1": sn.Linear(6, 8, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(8, 3, seed=2)})
    data = rng.standard_normal((50, 6)), rng.integers(3, size=50)
    taylor = sn.verify.criterion(sn.scores.taylor, network, data)
    assert taylor.units == 48 + 24
    assert min(taylor.layers.values()) > 0.7
    assert abs(sn.verify.criterion(sn.scores.random, network, data).overall) < 0.3
    assert sn.verify.criterion(sn.scores.l1, network, data, units=10).units == 10 + 10


def test_a_criterion_that_is_no_function_of_its_arguments(regression):
    network, data = regression
    calls = []

    def moody(weight):
        calls.append(1)
        return weight * len(calls)

    with pytest.raises(AssertionError, match="criterion 'moody' scores 'fc' otherwise when called again"):
        sn.verify.criterion(moody, network, data, loss=sn.losses.mean_squared_error)
    with pytest.raises(ValueError, match="must have the weight's shape"):
        sn.verify.criterion(lambda weight: weight[0], network, data, loss=sn.losses.mean_squared_error)


def test_the_tolerances_say_what_they_are_for():
    assert ROUNDING.limit < 1e-9
    assert {entry.tolerance.meaning for entry in ENTRIES} >= {EXACT.meaning, ROUNDING.meaning}


def test_what_masks_have_removed_proves_nothing(rng):
    """A criterion turned round is found out on a masked network too: pruned weights, of score and change 0, are out."""
    network = sn.chain({"fc1": sn.Linear(10, 20, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(20, 3, seed=2)})
    network.apply_masks({name: rng.random(mask.shape) < 0.3 for name, mask in network.masks().items()})
    data = rng.standard_normal((60, 10)), rng.integers(0, 3, 60)

    def turned(weight):
        return np.where(weight == 0, 0, 1 / (1e-3 + np.abs(weight)))

    assert (
        sn.verify.criterion(turned, network, data).overall
        < 0
        < sn.verify.criterion(sn.scores.l1, network, data).overall
    )
