"""What every page must be: well-formed, self-contained, with a text for every picture."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements of a page in order as (name, attributes), its text, and what is wrong with it."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.wrong, self.open = [], [], [], []
        self.feed(page)
        self.close()
        self.wrong += [f"<{name}> has no end" for name in self.open]

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if len({key for key, _ in attributes}) < len(attributes):
            self.wrong.append(f"<{name}> has an attribute twice")
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.wrong.append(f"</{name}> at {self.getpos()} ends another element")

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def named(self, *names):
        return [attributes for name, attributes in self.elements if name in names]


def assert_well_formed(page):
    """Returns the page, read."""
    read = Page(page)
    assert read.wrong == []
    assert page.startswith("<!DOCTYPE html>")
    assert read.named("html")[0]["lang"] == "en"
    assert len(read.named("h1")) == len(read.named("title")) == len(read.named("main")) == 1
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in read.named("a")} <= set(ids)
    assert all(image["alt"] and int(image["width"]) * int(image["height"]) for image in read.named("img"))
    assert all(svg["aria-label"] and svg["role"] == "img" for svg in read.named("svg"))
    assert "://" not in page  # nothing is asked for from anywhere
    assert not read.named("script", "link", "iframe", "object", "base")
    addresses = [value for _, a in read.elements for key, value in a.items() if key in ("href", "src", "xlink:href")]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    return read
