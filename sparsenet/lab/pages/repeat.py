"""How to do it again: the command, and the machine and versions it ran with."""

import shlex
from collections.abc import Mapping

from .page import Markup, join, table, tag


def command_line(command: str, arguments: Mapping[str, object], *places: object) -> str:
    """The command with all its options, defaults too, so that other defaults change nothing.

    Examples
    --------
    >>> command_line("bench", {"batch": 1, "quick": True, "out": "my folder"})
    "sparsenet bench --batch 1 --quick --out 'my folder'"
    """
    words = ["sparsenet", command, *map(str, places)]
    for name, value in arguments.items():
        if value is None or value is False:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return shlex.join(words)


def repeat(line: str, environment: Mapping[str, str]) -> Markup:
    """The command to repeat it, and where it ran."""
    shown = table(("", ""), environment.items(), "The environment it ran in", narrow=True)
    return join([tag("pre", line, tabindex="0", aria_label="The command"), shown])
