"""The colours of plots and reports, for light and for dark screens.

Text on paper and on a card has a contrast of 4.5 at least in either, the colours of lines and areas one of 3.
"""

LIGHT = {
    "paper": "#faf9f6",
    "card": "#ffffff",
    "ink": "#1f252d",
    "soft": "#58616c",
    "rule": "#dddad2",
    "blue": "#2260b5",
    "grey": "#7f8894",
    "orange": "#a8590a",
    "red": "#b3261e",
}
DARK = {
    "paper": "#14161a",
    "card": "#1c1f25",
    "ink": "#e8e6e1",
    "soft": "#a9b1bc",
    "rule": "#373c45",
    "blue": "#7fb3ff",
    "grey": "#8d97a5",
    "orange": "#f0a75c",
    "red": "#ff8f84",
}
# Of the lines of a plot, in turn.
LINES = ("blue", "orange", "red", "grey", "soft")


def variables(colours: dict[str, str]) -> str:
    """The colours as variables of CSS."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
