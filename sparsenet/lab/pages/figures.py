"""Figures of matplotlib (the `app` extra), loaded when one is drawn; as SVG for a page, or as PNG."""

import io
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...files.atomic_write import write_atomically
from .page import TIMES, Markup, figure, markup, printable
from .palette import LIGHT, LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LONGEST = 23  # letters of a name
MISSING = "a plot needs matplotlib: pip install 'sparsenet[app]'"
LOOK = {
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a $ in the name of a layer is a $
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["grey"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.axisbelow": True,
    "grid.color": LIGHT["rule"],
    "xtick.color": LIGHT["grey"],
    "xtick.labelcolor": LIGHT["soft"],
    "ytick.color": LIGHT["grey"],
    "ytick.labelcolor": LIGHT["soft"],
    "legend.frameon": False,
    "legend.fontsize": "small",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn, what it says to those who do not see it, and its caption."""

    draw: Callable[[], "Figure"]
    alt: str
    caption: object


def looks(name: str = "") -> AbstractContextManager:
    """Within it figures are drawn and written as the reports have them, whatever the user's own settings are."""
    try:
        from matplotlib import cycler, style
    except ImportError:
        raise ImportError(MISSING) from None
    lines = cycler(linestyle=["-", "--", ":", "-."]) * cycler(color=[LIGHT[colour] for colour in LINES])
    return style.context(["default", LOOK | {"svg.hashsalt": name, "axes.prop_cycle": lines}])


def new_figure(width: float = 5.8, height: float = 3.8) -> "Figure":
    """An empty figure, of inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(MISSING) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(name: str) -> str:
    """A name as a figure has room for it: of a long one the beginning and the end.

    Examples
    --------
    >>> label("conv1"), label("the_first_layer_of_the_second_block")
    ('conv1', 'the_first...econd_block')
    """
    name = printable(name)
    return name if len(name) <= LONGEST else f"{name[:9]}...{name[12 - LONGEST :]}"


def layer_axes(names: list[str], width: float = 5.8) -> tuple["Figure", "Axes"]:
    """A figure with a row for each layer, the first one on top."""
    figure = new_figure(width, 1.0 + 0.3 * max(len(names), 3))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), list(map(label, names)))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure, axes


def log_ticks(axis: "Axis", base: int = 10) -> None:
    """Ticks of a logarithmic axis, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base, subs=(1, 2, 5) if base == 10 else (1,), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, position: f"{value:,.3g}" + (TIMES if base == 2 else ""))


def save_png(path: str | Path, figure: "Figure") -> None:
    """Write a figure as PNG, whole or not at all."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def to_svg(figure: "Figure", name: str, alt: str) -> Markup:
    """The figure as an element of a page: its colours are the page's, its names begin with `name`.

    The same figure gives the same text: there is no date in it, and its names come from its content.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->", r' xmlns(:\w+)?="[^"]*"'):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg.replace("xlink:href", "href"))
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for colour, value in LIGHT.items():
        svg = svg.replace(value, f"var(--{colour})")
    return Markup(re.sub(r"\n\s*", "\n", svg).replace("<svg", f'<svg role="img" aria-label="{markup(alt)}"', 1).strip())


def show(pictures: Mapping[str, Picture], tell: Callable[[str, int, int], None]) -> tuple[dict[str, Markup], str]:
    """The figures for a page by name, and "" - or none of them, and a sentence that says why.

    A report without plots is better than none: whatever befalls matplotlib costs the plots alone. `tell` is told what
    is drawn, and how much is.
    """
    shown = {}
    try:
        for number, (name, picture) in enumerate(pictures.items()):
            tell(f"drawing {name} ...", number, len(pictures))
            with looks(name):
                shown[name] = figure(to_svg(picture.draw(), name, picture.alt), picture.caption)
    except ImportError:
        return {}, "This page has plots too where matplotlib is installed: pip install 'sparsenet[app]'."
    except Exception as error:  # an installation that is broken raises anything
        return {}, f"The plots could not be drawn: {type(error).__name__}: {error}"
    return shown, ""
