"""Pages of HTML from text, tables and pictures: one file, without scripts, that asks for nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import count

from .page_style import STYLE

SLOWER = "slower"
TIMES = "\N{MULTIPLICATION SIGN}"
VOID = {"img"}  # elements without an end


class Markup(str):
    """Text that is HTML already; all other text is escaped where it gets into a page."""

    __slots__ = ()


def markup(value: object) -> Markup:
    """HTML of a value: itself where it is HTML, escaped text elsewhere."""
    return value if isinstance(value, Markup) else Markup(escape(printable(str(value))))


def printable(text: str) -> str:
    """The text without what UTF-8 and HTML cannot hold: bytes that are none of a file's name, control characters."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def join(parts: Iterable[object], by: str = "\n") -> Markup:
    """Parts one after the other; empty ones are left out."""
    return Markup(by.join(markup(part) for part in parts if part != ""))


def tag(name: str, *parts: object, **attributes: object) -> Markup:
    """An element: `tag("p", text, class_="soft")`. An attribute that is None is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    head = "".join(f' {key}="{markup(value)}"' for key, value in given.items())
    return Markup(f"<{name}{head}>" + ("" if name in VOID else f"{join(parts, '')}</{name}>"))


def lines(*texts: object) -> Markup:
    """A paragraph for each text; none for an empty one."""
    return join(tag("p", text) for text in texts if text != "")


def speedup(value: float) -> Markup:
    """A speed-up; one below 1 in red, and with a word, for those who do not see the colour."""
    shown = f"{value:.2f}{TIMES}"
    return tag("strong", f"{shown} {SLOWER}", class_="loss") if value < 1 else markup(shown)


def bar(fraction: float, text: object) -> Markup:
    """A number with a bar beneath that is as long as the fraction."""
    return tag("span", text, class_="bar", style=f"--part: {100 * min(max(fraction, 0), 1):.1f}%")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: object,
    *,
    last: bool = False,
    narrow: bool = False,
) -> Markup:
    """A table that scrolls by itself where the page is narrow; `last`: the last row is a total; `narrow`: as it is."""
    rows = [list(row) for row in rows]
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))) if any(head) else ""
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]), class_=total)
        for row, total in zip(rows, [*[None] * (len(rows) - 1), "total" if last else None], strict=True)
    ]
    return captioned(tag("table", top, tag("tbody", *body)), caption, "narrow" if narrow else None)


def captioned(content: Markup, caption: object, kind: str | None = None) -> Markup:
    """A table under its caption, in a frame of its own."""
    scroll = tag("div", content, class_="scroll", role="region", tabindex="0", aria_label=caption)
    return tag("figure", tag("figcaption", caption), scroll, class_="table" + (f" {kind}" if kind else ""))


def figure(picture: Markup, caption: object) -> Markup:
    """A picture with its caption."""
    return tag("figure", picture, tag("figcaption", caption))


def row(*figures: object) -> Markup:
    """Pictures or tables side by side, as many as there is room for."""
    shown = join(figures)
    return tag("div", shown, class_="row") if shown else Markup("")


def section(title: str, *parts: object) -> tuple[str, Markup]:
    """A part of the page under a heading."""
    return title, join(parts)


def page(
    title: str, headline: object, sections: Iterable[tuple[str, Markup]], *, note: str = "", top: object = ""
) -> str:
    """The whole page: the title, a sentence that says it all, a note, what comes first, the list of sections, these."""
    named = [(f"s{number}", name, content) for number, (name, content) in zip(count(1), sections, strict=False)]
    contents = tag("nav", *(tag("a", name, href=f"#{anchor}") for anchor, name, _ in named), aria_label="Contents")
    head = tag("header", tag("h1", title), tag("p", headline, class_="headline"))
    main = [
        tag("section", tag("h2", name, id=anchor), content, aria_labelledby=anchor) for anchor, name, content in named
    ]
    body = join([head, tag("main", join([tag("p", note, class_="note") if note else "", top, contents, *main]))])
    return (
        f"{HEAD}<title>{markup(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""
