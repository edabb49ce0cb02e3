"""The reports in a real browser: no complaint, and readable narrow and wide, light and dark."""

import sys
from dataclasses import replace

import pytest
from chromium import Browser, find_chromium
from records import bench_of, record_of, sensitivity_of, shown, with_loss

from sparsenet.lab.pages.bench_page import bench_page, bench_pictures
from sparsenet.lab.pages.run_page import run_page
from sparsenet.lab.pages.run_plots import run_pictures
from sparsenet.lab.pages.search_page import sensitivity_pictures
from sparsenet.lab.pages.sensitivity_page import sensitivity_page

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and its pipes"),
]

# Sizes of pictures; text whose contrast is too low, by WCAG 2.1: relative luminances (l + 0.05) / (d + 0.05), with
# half-transparent backgrounds one over the other.
PROBE = """(() => {
  const parts = colour => {
    const n = colour.match(/-?[\\d.]+(?:e-?\\d+)?/g).map(Number), scale = colour.startsWith('color(') ? 1 : 255;
    return [n[0] / scale, n[1] / scale, n[2] / scale, n.length > 3 ? n[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map(k => top[k] * top[3] + under[k] * (1 - top[3])).concat(1);
  const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, k) =>
    sum + weight * (c[k] <= 0.04045 ? c[k] / 12.92 : ((c[k] + 0.055) / 1.055) ** 2.4), 0);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parts(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [1, 1, 1, 1]);
  };
  const contrast = element => {
    const style = getComputedStyle(element), background = behind(element);
    const svg = element instanceof SVGElement;
    const ink = luminance(over(parts(svg ? style.fill : style.color), background)), paper = luminance(background);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  };
  const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const told = [...document.body.querySelectorAll('*')].filter(own);
  const pictures = [...document.querySelectorAll('svg, img')];
  const root = document.documentElement, box = e => e.getBoundingClientRect();
  return {
    width: root.scrollWidth, window: root.clientWidth, texts: told.length,
    faint: told.filter(e => contrast(e) < 4.5).map(e => [e.tagName, e.textContent, contrast(e)]),
    tiny: told.filter(e => !e.closest('svg') && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.textContent),
    pictures: pictures.length,
    empty: pictures.filter(e => box(e).width < 50 || box(e).height < 10 || e.naturalWidth === 0).length,
    wide: [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
      && box(e).right > root.clientWidth + 0.5).map(e => e.tagName + e.textContent.slice(0, 40)),
    paper: luminance(behind(document.body)),
    refused: document.fonts.status === 'error',
  };
})()"""


@pytest.fixture(scope="module")
def browser():
    browser = Browser(CHROMIUM)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory, digits):
    """Pages in a folder whose name needs care, of a run with a long name, a loss and a round that was refused."""
    folder = tmp_path_factory.mktemp("reports") / '<b>&"#?%20'
    folder.mkdir()
    record = with_loss(record_of(digits, name="the_first_layer_whose_name_is_as_long_as_some_are_" * 2), "fc")
    rounds = tuple(replace(each, accepted=each.round == 1) for each in record.history.rounds)
    record = replace(record, history=replace(record.history, rounds=rounds), arguments={"out": folder})
    bench, sensitivity = bench_of(10.0, {"processor": "x" * 200}), sensitivity_of(digits, "conv")
    pages = {
        "report.html": run_page(record, *shown(run_pictures(record))),
        "regression.html": run_page(other := record_of(digits, regression=True), *shown(run_pictures(other))),
        "plain.html": run_page(record, {}, "No plots."),
        "calibration.html": bench_page(bench, {"out": folder}, *shown(bench_pictures(bench))),
        "sensitivity.html": sensitivity_page(sensitivity, "net", {}, *shown(sensitivity_pictures(sensitivity))),
    }
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")
    return folder


PICTURES = {"report.html": 9, "regression.html": 12, "plain.html": 2, "calibration.html": 1, "sensitivity.html": 2}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_reports_can_be_read(browser, reports, width, scheme):
    for name, pictures in PICTURES.items():
        path = reports / name
        browser.open(path, width, scheme)
        seen = browser.evaluate(PROBE)
        assert browser.complaints() == ([], [path.as_uri()])
        assert (seen["window"], seen["width"]) == (width, width)
        assert seen["wide"] == []
        assert (seen["pictures"], seen["empty"]) == (pictures, 0)
        assert seen["texts"] > 40
        assert seen["faint"] == []
        assert seen["tiny"] == []
        assert (seen["paper"] > 0.5) == (scheme == "light")


def test_the_browser_tells_what_is_wrong(browser, tmp_path):
    """The same probe and listener on a page that has every fault."""
    path = tmp_path / "wrong.html"
    path.write_text(
        "<!DOCTYPE html><title>x</title><body><main style='width: 900px'>wide <img src='nowhere.png' alt='gone'>"
        "<p style='color: #aaa; font-size: 8px'>faint</p></main><script>console.error('alas'); nothing()</script>"
    )
    browser.open(path, 400, "light")
    seen = browser.evaluate(PROBE)
    complaints, asked = browser.complaints()
    assert {method for method, _ in complaints} == {
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
        "Runtime.exceptionThrown",
    }
    assert asked == [path.as_uri(), (tmp_path / "nowhere.png").as_uri()]
    assert seen["width"] > seen["window"] == 400
    assert (seen["pictures"], seen["empty"]) == (1, 1)
    assert seen["wide"] != []
    assert [text for _, text, _ in seen["faint"]] == seen["tiny"] == ["faint"]
