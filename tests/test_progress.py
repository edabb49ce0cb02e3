"""Progress at a terminal: the bar and the remaining time by hand, and none where nobody sees it or tqdm is missing."""

import io
import sys

import pytest

from sparsenet import cli
from sparsenet.lab.progress import Progress, width_of


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_the_bar_and_the_remaining_time_by_hand(clock):
    pytest.importorskip("tqdm")
    progress = Progress(clock)
    assert progress.line("training ...", 0, 4) == "  0%                  ? left  training ..."
    clock.now += 30
    assert progress.line("epoch 1", 1, 4) == f" 25% {4 * chr(0x2588)}{12 * ' '} 01:30 left  epoch 1"
    clock.now += 10  # three quarters in 40 s: a third of that is left
    assert progress.line("epoch 3", 3, 4, unicode=False) == f" 75% {12 * '#'}{4 * ' '} 00:13 left  epoch 3"


def test_the_clock_starts_anew_with_a_stage_but_not_with_a_text(clock):
    pytest.importorskip("tqdm")
    progress = Progress(clock)
    for done, total in ((0, 4), (2, 4)):
        clock.now += 60
        progress.line("first", done, total)
    assert progress.line("in between") == "in between"
    clock.now += 60
    assert "00:40 left" in progress.line("first", 3, 4)  # three in 120 s
    for done, total, before in ((1, 4, "first"), (0, 9, "second")):
        clock.now += 1000
        assert " ? left" in progress.line(before, done, total)
    clock.now += 3
    assert "00:06 left" in progress.line("second", 3, 9)


@pytest.mark.parametrize("total", [0, 3])
def test_a_line_is_no_longer_than_the_terminal(total):
    for width in (10, 40, 80):
        assert len(Progress().line("a text {with} braces " * 9, 1, total, width=width)) == width - 1


def test_without_tqdm_there_is_the_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert Progress().line("epoch 1/4", 1, 4) == "epoch 1/4"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_bars_are_shown_at_a_terminal_only(monkeypatch):
    pytest.importorskip("tqdm")
    for stream, shown in ((Terminal(), "\r\033[K 50% ████████         ? left  half"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        cli._Terminal().progress("half", 1, 2)
        assert stream.getvalue() == shown


def test_where_nobody_sees_them_tqdm_is_not_even_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(Progress, "line", lambda *arguments, **options: pytest.fail("a line was drawn"))
    cli._Terminal().progress("half", 1, 2)


def test_the_width_of_what_is_no_terminal():
    assert width_of(io.StringIO()) == 80
    with open(__file__) as file:
        assert width_of(file) == 80


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_command_at_a_terminal(tmp_path, capsys, monkeypatch):
    """`verify` of one formula, with a real terminal as standard error."""
    pytest.importorskip("tqdm")
    import os
    import pty
    from select import select

    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert cli.main(["verify", "scores.taylor"]) == 0
        shown = ""
        while not shown.endswith("scores.taylor\r\x1b[K") and select([ours], [], [], 30)[0]:  # it comes in pieces
            shown += os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "  0% " in shown
    assert shown.endswith(" ? left  1/1 scores.taylor\r\x1b[K")
