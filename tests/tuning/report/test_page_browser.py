"""Tests the page in Chromium: drawings, network requests, keyboard, downloads, printing."""

from __future__ import annotations

import csv
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.support.browser import chromium
from tests.support.page_outcomes import HOSTILE, asha, everything, grid, pbt, spec_text
from tests.support.serving import serving
from tests.support.several_experiments import alike_everywhere
from tuning.across import compare_across
from tuning.report.page import live
from tuning.report.page.across import across_content
from tuning.report.page.document import page_content, render_page
from tuning.report.page.live import PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.system]
FIGURES = [
    "anytime",
    "learning",
    "parallel",
    "importances",
    "slices",
    "lineage",
    "schedules",
    "rungs",
    "slots",
    "seeds",
]
# Marks of a figure: what Plotly draws for data, not its axes and grids.
MARKS = "id => document.querySelectorAll(`#plot-${id} :is(.points path, .point path, path.js-line)`).length"
OVERFLOW = """() => [...document.querySelectorAll('body *')].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > window.innerWidth + 1 && !e.closest('.scroll, .place, nav ul, pre, .unseen, .skip');
}).map((e) => e.outerHTML.slice(0, 120))"""
# Texts of one drawing that lie on each other, or beyond its edge.
CROWDED = """(id) => {
  const plot = document.getElementById(`plot-${id}`).getBoundingClientRect();
  const texts = [...document.querySelectorAll(`#plot-${id} svg text`)].map((e) => ({
    text: e.textContent, box: e.getBoundingClientRect() })).filter(({ text, box }) => text.trim() && box.width);
  const found = texts.filter(({ box }) => box.left < plot.left - 1 || box.right > plot.right + 1
    || box.top < plot.top - 1 || box.bottom > plot.bottom + 1).map(({ text }) => `cut: ${text}`);
  texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 2 && high > 3) found.push(`over each other: ${a.text} / ${b.text}`);
  }));
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "everything.html"
    path.write_text(render_page(page_content(everything(), spec_text())), encoding="utf-8")
    return path


class Opened:
    """A browser tab that has drawn everything, with its console errors and requests."""

    def __init__(self, browser: Browser, address: str, width: int = 1280, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-drawn='true']")


def until(page: Page, condition: str, patience: float = 20.0) -> None:
    """Waits without Playwright's method, which evaluates text in the page, against the page's policy."""
    deadline = time.monotonic() + patience
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


@pytest.fixture(scope="module")
def wide(browser: Browser, file: Path) -> Iterator[Opened]:
    opened = Opened(browser, file.as_uri())
    yield opened
    opened.context.close()


@pytest.mark.smoke
def test_every_figure_has_marks_and_nobody_complains_or_asks_the_network(wide: Opened, file: Path) -> None:
    assert {id: wide.page.evaluate(MARKS, id) > 0 for id in FIGURES} == dict.fromkeys(FIGURES, True)
    assert wide.complaints == []
    assert [url for url in wide.requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def test_a_hostile_error_is_shown_as_the_text_that_it_is(wide: Opened) -> None:
    shown = wide.page.locator("#table-trials td", has_text="onerror").first
    assert shown.text_content() == HOSTILE
    assert wide.page.locator("img[src='x']").count() == 0
    assert wide.page.evaluate("document.body.dataset.hit ?? null") is None


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen_and_no_text_is_cut_or_lies_on_another(
    browser: Browser, file: Path, width: int
) -> None:
    opened = Opened(browser, file.as_uri(), width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate(OVERFLOW) == []
    assert {id: crowd for id in FIGURES if (crowd := opened.page.evaluate(CROWDED, id))} == {}
    opened.context.close()


def test_a_table_is_sorted_by_keyboard_and_says_so(wide: Opened) -> None:
    heading = wide.page.locator("#table-trials thead th", has_text="best accuracy")
    heading.locator("button").focus()
    wide.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    wide.page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"
    assert "best accuracy, descending" in str(wide.page.locator("#said").text_content())
    scores = [
        float(text)
        for text in wide.page.locator("#table-trials tbody tr td:nth-child(5)").all_inner_texts()
        if text != "–"
    ]
    assert scores == sorted(scores, reverse=True)
    last = wide.page.locator("#table-trials tbody tr").last
    assert "failed" in last.inner_text()  # what has no score stands last


SHOWN = (
    "() => [...document.querySelectorAll('#table-trials tbody tr:not([hidden])')].map((row) => row.cells[2].innerText)"
)


def values(page: Page, heading: str) -> list[float]:
    """Returns the numbers in one column of the visible rows of the table of trials, in order."""
    cells = page.evaluate(
        """(heading) => {
          const table = document.getElementById('table-trials');
          const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === heading);
          const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
          return rows.map((row) => row.cells[column].dataset.value).filter(Boolean);
        }""",
        heading,
    )
    return [float(value) for value in cells]


def test_trials_are_found_by_words_by_conditions_and_by_strategy_and_state(wide: Opened) -> None:
    search, count = wide.page.locator("#find-trials"), wide.page.locator("#found-trials")
    assert count.inner_text() == "198 of 198 trials"
    search.fill("A0005")
    assert wide.page.evaluate(SHOWN) == ["5 (a0005)"]
    assert count.inner_text() == "1 of 198 trials"
    search.fill("learning_rate<1e-4 accuracy>=0.85 cosine")
    rates, scores = values(wide.page, "learning_rate"), values(wide.page, "best accuracy")
    assert 0 < len(rates) == len(scores) < 198
    assert max(rates) < 1e-4
    assert min(scores) >= 0.85
    search.fill("momentum>0")
    assert count.inner_text() == '0 of 198 trials; no column is called "momentum"'
    search.fill("")
    wide.page.locator("#only-strategy").select_option("pbt")
    assert count.inner_text() == "24 of 198 trials"
    wide.page.locator("#only-state").select_option("failed")
    assert count.inner_text() == "0 of 198 trials"
    wide.page.locator("#only-strategy").select_option(label="all")
    assert wide.page.evaluate(SHOWN) == ["5 (a0005)", "5 (a1005)", "5 (a2005)"]
    with wide.page.expect_download() as download:
        wide.page.locator("#csv-trials").click()
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert [(row["trial"], row["state"]) for row in rows] == [(f"5 (a{i}005)", "failed") for i in range(3)]
    wide.page.locator("#only-state").select_option(label="all")
    assert count.inner_text() == "198 of 198 trials"


def test_trials_are_sorted_by_a_hyperparameter(wide: Opened) -> None:
    heading = wide.page.locator("#table-trials thead th", has_text="weight_decay")
    heading.locator("button").click()
    decays = values(wide.page, "weight_decay")
    assert decays == sorted(decays)
    assert len(decays) == 3 * (48 + 8)
    assert wide.page.evaluate(SHOWN)[-1].split("(")[1].startswith("g")  # the grid had no such value


def test_the_winner_is_found_in_the_table_and_in_the_drawing(wide: Opened) -> None:
    (row,) = wide.page.locator("#table-trials tr.winner").all()
    assert "★ winner" in row.inner_text()
    name = row.locator("td").nth(1).inner_text()
    assert f"winner: trial {name}" in str(wide.page.locator("#plot-learning .legend").text_content())


def test_two_trials_stand_side_by_side_and_a_third_takes_the_place_of_the_first(wide: Opened) -> None:
    def tick(trial: str) -> None:
        wide.page.locator(f"[data-trial$='({trial})']").focus()
        wide.page.keyboard.press("Space")

    panel = wide.page.locator("#compared")
    tick("g0000")
    assert not panel.is_visible()
    tick("a0003")
    assert panel.is_visible()
    rows = [row.all_inner_texts() for row in (r.locator("td") for r in wide.page.locator("#table-compared tr").all())]
    assert ["0 (g0000)", "3 (a0003)", ""] in rows
    assert ["completed", "stopped", "differs"] in rows
    until(wide.page, "document.querySelectorAll('#plot-compared .scatterlayer .trace').length === 2")
    tick("p0001")
    names = wide.page.locator("#table-compared tbody tr").nth(2).locator("td").all_inner_texts()
    assert names[:2] == ["3 (a0003)", "1 (p0001)"]
    assert not wide.page.locator("[data-trial$='(g0000)']").is_checked()
    tick("p0001")
    tick("a0003")
    assert not panel.is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_wider_than_the_screen_says_that_it_scrolls(browser: Browser, file: Path, width: int) -> None:
    """Telephones hide scroll bars, so a hint must show that a drawing continues."""
    opened = Opened(browser, file.as_uri(), width)
    shown = {id: opened.page.locator(f"#figure-{id} > .hint").is_visible() for id in ("learning", "parallel", "slices")}
    assert shown == {"learning": False, "parallel": True, "slices": width == 390}
    scrolls = (
        "document.querySelector('#place-slices').scrollWidth > document.querySelector('#place-slices').clientWidth"
    )
    assert opened.page.evaluate(scrolls) is (width == 390)
    assert opened.complaints == []
    opened.context.close()


def test_another_view_is_drawn_when_it_is_picked(wide: Opened) -> None:
    before = wide.page.locator("#summary-slots").inner_text()
    wide.page.locator("#pick-slots").select_option(label="pbt, seed 2")
    until(wide.page, f"document.getElementById('summary-slots').innerText !== {json.dumps(before)}")
    assert (
        wide.page.locator("#plot-slots").get_attribute("aria-label") == wide.page.locator("#summary-slots").inner_text()
    )


def test_the_data_of_a_figure_is_saved_as_csv_and_shown_as_a_table(wide: Opened) -> None:
    with wide.page.expect_download() as download:
        wide.page.locator("#csv-rungs").click()
    assert download.value.suggested_filename == "everything-rungs.csv"
    rows = list(csv.reader(download.value.path().read_text().splitlines()))
    assert rows[0][:3] == ["strategy", "rung (epoch)", "reached"]
    assert rows[1][:3] == ["hyperopt_asha", "1", "141"]
    wide.page.locator("#data-rungs summary").click()
    until(wide.page, f"document.querySelectorAll('#table-data-rungs tbody tr').length === {len(rows) - 1}")


def test_a_figure_is_saved_as_png_in_twice_its_size(wide: Opened) -> None:
    with wide.page.expect_download() as download:
        wide.page.locator("#png-anytime").click()
    head = download.value.path().read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24])[1] == 920


def test_what_is_on_the_screen_is_drawn_first(browser: Browser, file: Path) -> None:
    order = """window.order = [];
      new MutationObserver((all) => all.forEach(({ target }) => window.order.push(target.id || 'whole')))
        .observe(document, { subtree: true, attributeFilter: ['data-drawn'] });"""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    tab = context.new_page()
    tab.add_init_script(order)
    tab.goto(f"{file.as_uri()}#figure-slots")
    tab.wait_for_selector("html[data-drawn='true']")
    drawn = tab.evaluate("window.order")
    context.close()
    assert drawn[0] == "plot-slots"
    assert sorted(drawn[:-1]) == sorted(f"plot-{id}" for id in FIGURES)
    assert drawn[-1] == "whole"


def test_two_hundred_trials_are_few_enough_nodes_to_open_at_once(wide: Opened) -> None:
    """Counts nodes instead of time, which depends on the machine."""
    assert wide.page.evaluate("document.querySelectorAll('.plot *').length") < 10_000


def test_a_live_page_takes_what_is_new_and_keeps_scroll_and_sort_order(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REBUILT_EVERY", 0.0)
    monkeypatch.setattr(live, "REST", 0.0)
    whole = everything()
    now = [replace(whole, studies=whole.studies[:1])]
    with serving(PageServer(lambda: page_content(now[0], spec_text()), 0)) as server:
        opened = Opened(browser, server.url)
        opened.page.locator("#table-trials-sort-4").click()
        opened.page.locator("#find-trials").fill("g")
        opened.page.locator("[data-trial='grid 0 1 (g0001)']").check()
        opened.page.locator("[data-trial='grid 0 2 (g0002)']").check()
        opened.page.evaluate("window.scrollTo({top: 900, behavior: 'instant'})")
        now[0] = replace(whole, studies=whole.studies[:2])
        until(opened.page, "document.querySelectorAll('#table-trials tbody tr').length === 20")
        until(opened.page, "document.querySelector('#found-trials').textContent === '20 of 20 trials'")
        assert opened.page.locator("#find-trials").input_value() == "g"
        assert opened.page.locator("#compared").is_visible()
        heading = opened.page.locator("#table-trials thead th").nth(4)
        assert heading.get_attribute("aria-sort") == "ascending"
        until(opened.page, "window.scrollY === 900")
        until(opened.page, "document.querySelector('#summary-seeds').textContent.startsWith('2 searches')")
        assert opened.complaints == []
        opened.context.close()


def test_drawings_follow_the_dark_style_and_the_printer(wide: Opened) -> None:
    ground = "getComputedStyle(document.querySelector('#plot-anytime .main-svg')).backgroundColor"
    assert wide.page.evaluate(ground) == "rgb(255, 255, 255)"
    wide.page.emulate_media(color_scheme="dark")
    until(wide.page, f"{ground} === 'rgb(20, 23, 28)'")
    wide.page.emulate_media(color_scheme="dark", media="print")
    until(wide.page, f"{ground} === 'rgb(255, 255, 255)'")
    assert not wide.page.locator("nav").is_visible()
    assert wide.page.pdf(format="A4")[:5] == b"%PDF-"
    wide.page.emulate_media(color_scheme="light", media="screen")


@pytest.fixture(scope="module")
def small(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Has one seed per strategy and the fewest trials that the figures need, since axe takes time per table row."""
    file = tmp_path_factory.mktemp("small") / "small.html"
    content = page_content(replace(everything(), studies=(grid(0), asha(0, 21), pbt(0))), spec_text())
    assert list(content.figures) == FIGURES
    file.write_text(render_page(content), encoding="utf-8")
    opened = Opened(browser, file.as_uri(), bypass_csp=True)
    yield opened
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anybody_out(small: Opened, scheme: Literal["light", "dark"]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    small.page.emulate_media(color_scheme=scheme)
    ground = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    until(
        small.page,
        f"getComputedStyle(document.querySelector('#plot-anytime .main-svg')).backgroundColor === '{ground}'",
    )
    found = axe.Axe().run(small.page)
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_several_experiments_is_drawn_and_fits_the_screen(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    names = {"hyperopt_asha": 0.02, "random_asha": 0.012, "grid": 0.0}
    file = tmp_path / "across.html"
    file.write_text(render_page(across_content(compare_across(alike_everywhere(3, names)))), encoding="utf-8")
    opened = Opened(browser, file.as_uri(), width)
    figures = ["ranks", "profiles", "middles", "chances"]
    assert {id: opened.page.evaluate(MARKS, id) > 0 for id in figures} == dict.fromkeys(figures, True)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate(OVERFLOW) == []
    assert {id: crowd for id in figures if (crowd := opened.page.evaluate(CROWDED, id))} == {}
    opened.context.close()
