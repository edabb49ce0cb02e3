"""Changes of a source, one at a time: what a slip of the pen does to a formula.

`changes(tree)` lists them in the order of the source, the same every time. Left out are docstrings and messages, types,
decorators, imports and what is raised.
"""

import ast
from dataclasses import dataclass

OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
PAIRS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("argmin", "argmax"),
    ("sum", "mean"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("floor", "ceil"),
    ("sin", "cos"),
    ("union", "intersection"),
    ("append", "appendleft"),
)
FUNCTIONS = {old: new for a, b in PAIRS for old, new in ((a, b), (b, a))}
LEFT_OUT_CALLS = {"abs", "sqrt", "square", "exp", "log", "log2", "round", "reversed"}  # f(x) -> x
LEFT_OUT_OPTIONS = {"axis", "ddof", "dtype", "initial", "keepdims", "kind", "out", "where"}  # f(x, axis=0) -> f(x)
SILENT_CALLS = {"warn", "warn_caller", "TypeVar", "isinstance", "cast", "getLogger"}  # messages and types

SYMMETRIC = {"array_equal", "max", "maximum", "min", "minimum", "multiply"}  # f(a, b) = f(b, a)
SILENT_OPTIONS = {"strict", "copy"}  # no effect on what is returned


@dataclass
class Change:
    """One replaced node: child `field` (its element `index`, where that is a list) of `holder`."""

    holder: ast.AST
    field: str
    index: int | None
    node: ast.AST
    function: str  # the top-level function, class or constant that it stands in
    line: int
    shown: ast.AST  # the smallest expression or statement that shows the change
    old: str = ""
    new: str = ""

    def replace(self, node):
        if self.index is None:
            setattr(self.holder, self.field, node)
        else:
            getattr(self.holder, self.field)[self.index] = node

    def apply(self):
        """Change the tree."""
        self.replace(ast.fix_missing_locations(ast.copy_location(self.node, self.shown)))

    def describe(self):
        """Write down the expression before and after."""
        before = getattr(self.holder, self.field)
        before = before if self.index is None else before[self.index]
        self.old = ast.unparse(self.shown).split("\n")[0]
        self.apply()
        whole = self.node if self.shown is before else self.shown
        self.new = ast.unparse(whole).split("\n")[0]
        self.replace(before)
        return self

    def __str__(self):
        return f"{self.line} in {self.function}: {self.old}  ->  {self.new}"


def changes(tree):
    """All changes of a module's tree, of which one is to be applied."""
    found = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and is_type_name(place_of(statement)):
            continue
        Collector(place_of(statement), found).visit(statement)
    return [change.describe() for change in found]


def place_of(statement):
    """Name of the function, the class or the constant that a top-level statement defines."""
    names = [target.id for target in getattr(statement, "targets", ()) if isinstance(target, ast.Name)]
    return getattr(statement, "name", names[0] if names else "<module>")


def is_type_name(name):
    """`Arrays` of `Arrays = dict[str, np.ndarray]`; no `LIMIT`."""
    return name[:1].isupper() and not name.isupper()


def is_plain(node):
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)


def other_constants(value):
    """What may stand in place of a number or a truth value."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [1] if value == 0 else [value - 1, value + 1]
    if isinstance(value, float):
        return [2 * value] if value else [1.0]
    return []


class Collector(ast.NodeVisitor):
    """Walks through a top-level statement and appends to `found`."""

    def __init__(self, function, found):
        self.function, self.found, self.unknown_sizes = function, found, set()

    def add(self, holder, field, index, node, shown):
        self.found.append(Change(holder, field, index, node, self.function, shown.lineno, shown))

    def visit(self, node):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
            return
        if isinstance(node, ast.Call) and name_of(node.func) in SILENT_CALLS:
            return
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "type_params", "bases"):
                continue
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if isinstance(child, ast.AST):
                    self.change(node, field, index if isinstance(value, list) else None, child)
                    self.visit(child)

    def change(self, holder, field, index, child):
        for other in OPERATORS.get(type(child), ()):
            if not (isinstance(child, ast.BitOr) and is_type_union(holder)):
                self.add(holder, field, index, other(), holder)
        if field == "test" or field == "ifs":
            self.negated(holder, field, index, child)
        if field in ("lower", "upper", "stop") and not isinstance(child, ast.Constant):
            self.add(holder, field, index, ast.BinOp(child, ast.Add(), ast.Constant(1)), child)
        visitor = getattr(self, "of_" + type(child).__name__.lower(), None)
        if visitor:
            visitor(holder, field, index, child)

    def negated(self, holder, field, index, test):
        if not isinstance(test, ast.Compare | ast.BoolOp) and not is_not(test):
            self.add(holder, field, index, ast.UnaryOp(ast.Not(), test), test)

    def of_constant(self, holder, field, index, constant):
        if isinstance(holder, ast.keyword) and holder.arg in SILENT_OPTIONS:
            return
        unknown = isinstance(holder, ast.UnaryOp) and id(holder) in self.unknown_sizes
        for value in other_constants(constant.value):
            if unknown and value == 2:
                continue  # -2 means the same to `reshape` as -1
            self.add(holder, field, index, ast.Constant(value), holder if hasattr(holder, "lineno") else constant)

    def of_unaryop(self, holder, field, index, operation):
        self.add(holder, field, index, operation.operand, operation)

    def of_augassign(self, holder, field, index, statement):
        plain = ast.Assign([statement.target], statement.value)
        self.add(holder, field, index, plain, statement)

    def of_tuple(self, holder, field, index, items):
        """x[i, j] -> x[j, i]."""
        if isinstance(holder, ast.Subscript):
            for place in range(len(items.elts) - 1):
                self.swapped(holder, field, index, items, "elts", place)

    def of_call(self, holder, field, index, call):
        name = name_of(call.func)
        if name in SILENT_CALLS:
            return
        if name == "reshape":
            self.unknown_sizes |= {id(size) for size in call.args if isinstance(size, ast.UnaryOp)}
        if name in FUNCTIONS:
            self.add(holder, field, index, with_name(call, FUNCTIONS[name]), call)
        if name in LEFT_OUT_CALLS and len(call.args) == 1:
            self.add(holder, field, index, call.args[0], call)
        for option in call.keywords:
            if option.arg in LEFT_OUT_OPTIONS:
                rest = [other for other in call.keywords if other is not option]
                self.add(holder, field, index, ast.Call(call.func, call.args, rest), call)
        for place in range(0 if name in SYMMETRIC else len(call.args) - 1):
            self.swapped(holder, field, index, call, "args", place)

    def swapped(self, holder, field, index, node, items_field, place):
        items = getattr(node, items_field)
        one, two = items[place : place + 2]
        if is_plain(one) and is_plain(two) and ast.dump(one) != ast.dump(two):
            values = dict(ast.iter_fields(node))
            values[items_field] = [*items[:place], two, one, *items[place + 2 :]]
            self.add(holder, field, index, type(node)(**values), node)


def name_of(function):
    """`sum` of `sum`, `np.sum` and `x.sum`."""
    return getattr(function, "attr", getattr(function, "id", ""))


def with_name(call, name):
    old = call.func
    function = ast.Attribute(old.value, name, old.ctx) if isinstance(old, ast.Attribute) else ast.Name(name, old.ctx)
    return ast.Call(function, call.args, call.keywords)


def is_not(node):
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def is_type_union(operation):
    """Two capitalised names or None: `int | None`, `Conv2d | Linear`."""
    sides = (operation.left, operation.right) if isinstance(operation, ast.BinOp) else ()
    names = [ast.unparse(side).split(".")[-1] for side in sides]
    return any(name == "None" or name[:1].isupper() for name in names)
