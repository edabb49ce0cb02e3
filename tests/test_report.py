"""The reports as pages: every strategy and kind of run, with plots and without, hostile names, the same bytes again."""

import base64
import re
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from pages import Page, assert_well_formed
from records import bench_of, record_of, sensitivity_of, shown, silent, with_loss

from sparsenet.lab.pages import bitmap, figures, mask_pictures, page
from sparsenet.lab.pages.bench_page import bench_page, bench_pictures
from sparsenet.lab.pages.confusion import confusion, confusions
from sparsenet.lab.pages.intervals import wilson
from sparsenet.lab.pages.palette import DARK, LIGHT
from sparsenet.lab.pages.repeat import command_line
from sparsenet.lab.pages.run_page import run_page
from sparsenet.lab.pages.run_plots import run_pictures
from sparsenet.lab.pages.search_page import sensitivity_pictures
from sparsenet.lab.pages.sensitivity_page import sensitivity_page

HOSTILE = "<b>&\"' $x$ --> {y} \udcff\x00"
STRATEGIES = ("layerwise", "channelwise", "proportional", "max_threshold")


def few(record):
    """The pictures that are different in kind."""
    return {name: run_pictures(record)[name] for name in ("accuracy", "speed4", "time", "weights-0")}


@pytest.fixture(scope="module")
def record(digits):
    return record_of(digits)


def test_wilson_intervals_by_hand():
    """8 of 10 as in the textbooks; none of n ends at z^2 / (n + z^2); it is symmetric."""
    assert wilson(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-7)
    assert wilson(0.0, 10) == (0, pytest.approx(3.841459 / 13.841459, abs=1e-6))
    for accuracy, samples in ((0.98, 357), (0.5, 1), (1.0, 355)):
        low, high = wilson(accuracy, samples)
        assert 0 <= low <= accuracy <= high <= 1
        assert wilson(1 - accuracy, samples) == pytest.approx((1 - high, 1 - low), abs=1e-12)
        for end in (low, high):  # the definition: so far away in standard deviations of the end itself
            assert (accuracy - end) ** 2 == pytest.approx(3.841458820694124 * end * (1 - end) / samples, abs=1e-12)
    with pytest.raises(ValueError, match="accuracy"):
        wilson(98.0, 10)
    with pytest.raises(ValueError, match="samples"):
        wilson(0.5, 0)


@pytest.mark.parametrize(
    ("strategy", "regression"), [*((name, False) for name in STRATEGIES), ("layerwise", True)], ids=str
)
def test_a_page_for_every_strategy_and_kind(digits, record, strategy, regression):
    own = record if strategy == "layerwise" and not regression else record_of(digits, strategy, regression=regression)
    drawn, note = shown(run_pictures(own))
    assert note == ""
    read = assert_well_formed(run_page(own, drawn))
    assert len(read.named("svg")) == len(drawn) == 8 + 2 * regression
    assert len(read.named("img")) == 2
    assert ("R^2 against sparsity" in read.text) == regression
    assert ("What is taken for what" in read.text) != regression
    assert ("Wilson" in read.text) != regression
    assert "Theory beside measurement" in read.text
    wanted = {"max_threshold": "no weight below 0.4 of the largest", "channelwise": "40 % of the filters and neurons"}
    assert f"Asked for: {wanted.get(strategy, '40 % of the weights')}" in read.text


@pytest.mark.parametrize("regression", [False, True], ids=["classes", "regression"])
def test_a_page_for_a_budget(digits, regression):
    record = record_of(digits, regression=regression, budget=4_000 if regression else 30_000)
    drawn, _ = shown(run_pictures(record))
    read = assert_well_formed(run_page(record, drawn))
    assert {"sensitivity", "costs"} <= set(drawn)
    assert "accuracy" not in drawn
    assert "The search for the budget" in read.text
    assert "within the budget" in read.text
    assert record.show(record.search.accuracy_before) in read.text


def test_without_matplotlib_there_are_the_tables_and_a_sentence(record, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    drawn, note = figures.show(run_pictures(record), silent)
    assert drawn == {}
    assert note == "This page has plots too where matplotlib is installed: pip install 'sparsenet[app]'."
    read = assert_well_formed(run_page(record, drawn, note))
    assert read.text.count(note) == 1
    assert read.named("svg") == []
    assert len(read.named("table")) == 11


def test_a_broken_matplotlib_costs_the_plots_alone(record, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("<no fonts>")

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figures, "new_figure", broken)
    drawn, note = figures.show(run_pictures(record), silent)
    assert drawn == {}
    assert note == "The plots could not be drawn: RuntimeError: <no fonts>"
    assert note in assert_well_formed(run_page(record, drawn, note)).text


def test_the_same_run_gives_the_same_page(record):
    assert run_page(record, *shown(few(record))) == run_page(record, *shown(few(record)))


def test_the_page_does_not_depend_on_the_users_own_settings(record):
    matplotlib = pytest.importorskip("matplotlib")
    expected = run_page(record, *shown(few(record)))
    own = {"font.size": 30, "axes.grid": True, "svg.fonttype": "path", "lines.linewidth": 9, "text.usetex": True}
    with matplotlib.rc_context(own):
        assert run_page(record, *shown(few(record))) == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_hostile_names_are_escaped(digits):
    """In the folder, the layer, the data set, what the run says of itself, and the versions."""
    names = {"dataset": HOSTILE, "model": HOSTILE, "stopped": HOSTILE, "environment": {HOSTILE: HOSTILE}}
    found = record_of(digits, name=HOSTILE, **names)
    found = replace(found, arguments={"data": HOSTILE, "out": HOSTILE}, headline=HOSTILE)
    drawn, note = shown(run_pictures(found))
    text = run_page(found, drawn)
    read = assert_well_formed(text)
    assert note == ""
    assert read.named("b") == []
    assert text.encode().count(b"\0") == 0
    readable = HOSTILE.replace("\udcff", r"\udcff").replace("\x00", r"\x00")
    assert f"{readable} on {readable}, " in read.text
    assert "It ended with: " + readable in read.text
    assert any(readable in svg["aria-label"] for svg in read.named("svg"))
    assert any(readable in image["alt"] for image in read.named("img"))


def test_losses_are_told_by_colour_and_by_a_word():
    assert page.speedup(0.994) == '<strong class="loss">0.99\N{MULTIPLICATION SIGN} slower</strong>'
    assert page.speedup(1.0) == "1.00\N{MULTIPLICATION SIGN}"


def test_a_layer_that_lost_is_named_in_table_and_plot(record):
    record = with_loss(record, "fc")
    drawn, _ = shown({"speed4": run_pictures(record)["speed4"]})
    read = assert_well_formed(run_page(record, drawn))
    assert read.named("svg")[0]["aria-label"].endswith("slower than dense: fc.")
    assert "0.25\N{MULTIPLICATION SIGN} slower" in read.text
    assert "var(--red)" in drawn["speed4"]
    assert ">slower</text>" in drawn["speed4"]


def test_long_names_are_cut_in_figures():
    assert figures.label("a" * 23) == "a" * 23
    assert figures.label("the_first_layer_of_the_second_block") == "the_first...econd_block"


def test_confusion_of_narrow_labels():
    assert np.trace(confusion(np.arange(20, dtype=np.uint8), np.eye(20))) == 20


def test_a_convolution_too_large_for_tiles_is_told_as_a_matrix():
    for outputs, told in ((4, "a tile for each filter"), (200, "a row for each output")):
        assert told in mask_pictures.mask_figure("conv", np.ones((outputs, outputs, 3, 3), bool))


def test_confusion_by_hand():
    outputs = np.eye(3)[[0, 1, 1, 2, 0]]
    counts = confusion(np.array([0, 1, 0, 2, 2]), outputs)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    both = confusions(np.array([0, 1, 0, 2, 2]), {"dense": outputs, "pruned": np.eye(3)[[0, 0, 0, 2, 0]]})
    text = Page(both).text
    assert (
        "Of 5 test images the dense network gets 2 wrong, the pruned one 2: 1 are newly wrong, 1 newly right." in text
    )
    assert both.count('class="wrong"') == 4
    assert both.count('class="right"') == 5


def decode(png):
    """(rows of indices, the alpha of each) of a PNG with a palette, checked on the way."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, rest = {}, png[8:]
    while rest:
        size, name = int.from_bytes(rest[:4]), rest[4:8]
        chunks[name], check = rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert int.from_bytes(check) == zlib.crc32(name + chunks[name])
        rest = rest[12 + size :]
    width, height = (int.from_bytes(chunks[b"IHDR"][k : k + 4]) for k in (0, 4))
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    assert len(chunks[b"PLTE"]) == 3 * len(chunks[b"tRNS"]) == 3 * (bitmap.KEPT + 1)
    return lines[:, 1:], chunks[b"tRNS"]


def test_a_picture_holds_its_levels(rng):
    levels = rng.integers(0, bitmap.KEPT + 1, (5, 7), dtype=np.uint8)
    read, alpha = decode(bitmap.png(levels))
    np.testing.assert_array_equal(read, levels)
    assert list(alpha) == sorted(set(alpha))
    assert (alpha[bitmap.GAP], alpha[bitmap.KEPT]) == (0, 255)


def test_filters_are_tiles_by_hand():
    mask = np.zeros((2, 5, 1, 2), bool)
    mask[0, 1] = mask[1, 4, 0, 0] = True
    x, o, gap = bitmap.KEPT, bitmap.GONE, bitmap.GAP
    assert mask_pictures.tile_filters(mask).tolist() == [
        [o, o, gap, x, x, gap, o, o, gap, o, o, gap, o, o],
        [gap] * 14,
        [o, o, gap, o, o, gap, o, o, gap, o, o, gap, x, o],
    ]
    narrow = np.zeros((3, 1, 1, 2), bool)  # filters of one channel, two in a row: the last place is empty
    narrow[1] = True
    assert mask_pictures.tile_filters(narrow).tolist() == [[o, o, gap, x, x], [gap] * 5, [o, o, gap, gap, gap]]


def test_matrices_are_bitmaps_above_their_kept_columns():
    mask = np.array([[True, False, False], [True, False, True]])
    x, o, gap = bitmap.KEPT, bitmap.GONE, bitmap.GAP
    assert mask_pictures.bitmap(mask).tolist() == [[x, o, o], [x, o, x], *[[gap] * 3] * 2, *[[x, o, x]] * 3]


def test_large_matrices_are_shown_by_fields():
    kept = bitmap.shrink(np.eye(6)[:, :5], 3)
    np.testing.assert_allclose(kept, [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    assert bitmap.shade(np.array([0, 0.01, 0.5, 1])).tolist() == [bitmap.GONE, bitmap.GONE + 1, 5, bitmap.KEPT]
    large = np.zeros((3, 3000), bool)
    large[1, 1234] = True  # a single weight is seen
    levels = mask_pictures.bitmap(large)
    assert levels.shape[1] <= mask_pictures.MOST
    assert len(levels) == 3 * 17 + 5  # 429 fields wide: rows are stretched so that they can be seen
    assert (levels[17] > bitmap.GONE).sum() == (levels[-1] == bitmap.KEPT).sum() == 1


def test_the_mask_of_a_wide_convolution_is_still_a_picture(rng):
    mask = rng.random((300, 200, 3, 3)) < 0.1
    picture = str(mask_pictures.mask_figure("wide", mask))
    width, height = (int(re.search(rf'{side}="(\d+)"', picture)[1]) for side in ("width", "height"))
    assert max(width, height) <= mask_pictures.MOST
    png = base64.b64decode(re.search(r"base64,([^\"]+)", picture)[1])
    assert decode(png)[0].shape == (height, width)
    assert len(picture) < 200_000


def test_the_command_line_can_be_pasted():
    arguments = {"data": None, "quick": False, "filters": True, "max_drop": 0.02, "out": "a b"}
    assert command_line("run", arguments, "net") == "sparsenet run net --filters --max-drop 0.02 --out 'a b'"


def luminance(colour):
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_told_from_what_is_behind_them(colours):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert len(set(colours.values())) == len(colours)  # each is found again in a drawing by its value
    for behind in ("paper", "card"):
        for name in ("ink", "soft", "blue", "orange", "red"):
            assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
        assert contrast(colours["grey"], colours[behind]) >= 3


def test_the_page_of_a_bench():
    for dense, told, headline in (
        (
            10.0,
            "0.50\N{MULTIPLICATION SIGN} slower",
            "1 of 1 layers are faster in their sparse form on this machine, ",
        ),
        (30.0, "6.00\N{MULTIPLICATION SIGN}", "on this machine, at every sparsity."),
        (1.0, "0.20\N{MULTIPLICATION SIGN} slower", "0 of 1 layers are faster in their sparse form on this machine."),
    ):
        report = bench_of(dense, {"processor": HOSTILE})
        for drawn in (shown(bench_pictures(report)), ({}, "No plots.")):
            read = assert_well_formed(bench_page(report, {"batch": 1, "out": HOSTILE}, *drawn))
            assert told in read.text
            assert headline in read.text
            assert len(read.named("svg")) == len(drawn[0])


def test_the_page_of_a_sensitivity(digits):
    report = sensitivity_of(digits, HOSTILE)
    for drawn in (shown(sensitivity_pictures(report)), ({}, "No plots.")):
        read = assert_well_formed(sensitivity_page(report, HOSTILE, {"batch": 1}, *drawn))
        assert len(read.named("svg")) == len(drawn[0])
        assert "Pruned alone to 50 % by criterion 'l1', without retraining, " in read.text
        assert len(read.named("table")) == 6
