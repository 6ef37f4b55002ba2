"""The page as a document: it is whole, opens offline, and hostile texts stay texts."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from tests.support.outcomes import make_report, scored, study, trial
from tests.support.page_outcomes import HOSTILE, asha, everything, pbt, spec_text
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.report.page.document import PageContent, page_content, render_page
from tuning.report.page.figure import PALETTE, STATE_COLOURS

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def content() -> PageContent:
    return page_content(everything(), spec_text())


@pytest.fixture(scope="module")
def html(content: PageContent) -> str:
    return render_page(content)


def test_one_row_of_the_page_is_the_winner_s(html: str) -> None:
    parser = Scripts()
    parser.feed(html)
    assert [attrs.get("class") for tag, attrs in parser.tags if tag == "tr"].count("winner") == 1


def test_an_experiment_without_a_report_has_a_page() -> None:
    empty = ExperimentOutcome("e", "d", (study("hyperopt_asha", [trial(0, [], TrialState.RUNNING)]),))
    made = page_content(empty, spec_text())
    assert not made.figures
    assert "Not shown: no trial has reported a score yet." in made.body


def test_a_score_that_is_not_finite_is_null_for_the_script() -> None:
    odd = study("grid", [trial(0, [make_report(1, 0.5)])], test=scored("t0", 1, float("nan")))
    made = page_content(ExperimentOutcome("e", "d", (odd,)), spec_text())
    assert json.loads(made.to_json(), parse_constant=pytest.fail)["figures"]["seeds"]["rows"][0][-1] is None


class Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_hostile_texts_stay_texts(html: str) -> None:
    """The texts are in the error of a trial, which a table shows, and in names, which the script's data contain too."""
    parser = Scripts()
    parser.feed(html)
    assert [tag for tag, _ in parser.tags].count("script") == 3
    assert not [tag for tag, attrs in parser.tags if tag == "img" or any(name.startswith("on") for name in attrs)]
    assert "&lt;/script&gt;&lt;img" in html


def test_the_page_tells_what_the_data_came_to_and_what_is_suspicious(html: str) -> None:
    section = html[html.index('<section id="splits"') :]
    section = section[: section.index("</section>")]
    for text in ("7,000", "neg 6,300", "3500", "42 %", "reviews.csv (train): 10,090 rows; cp1252, separator semicolon"):
        assert text in section, text
    assert "4 texts stand in the data with more than one label" in section
    assert "tokenizer: 30,522 tokens, at most 128 per row; right padding with [PAD] (0)" in section
    none = render_page(
        page_content(ExperimentOutcome("e", "d", (study("grid", [trial(0, [make_report(1, 0.5)])]),)), spec_text())
    )
    assert "No data are recorded" in none


def test_hostile_names_cannot_end_the_script_that_holds_them() -> None:
    named = study(HOSTILE, [trial(0, [make_report(1, 0.5)])])
    text = render_page(page_content(ExperimentOutcome(HOSTILE, "d", (named,)), spec_text()))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["figures"]["learning"]["views"][0]["label"] == HOSTILE
    parser = Scripts()
    parser.feed(text)
    assert [tag for tag, _ in parser.tags].count("img") == 0


def test_the_page_holds_everything_in_less_than_six_megabytes(html: str) -> None:
    assert len(html.encode()) < 6e6
    parser = Scripts()
    parser.feed(html)
    assert not [attrs for _, attrs in parser.tags if "src" in attrs]
    assert all((attrs.get("href") or "#").startswith(("#", "data:")) for _, attrs in parser.tags)


def test_headings_come_in_order_and_no_id_stands_twice(html: str) -> None:
    parser = Scripts()
    parser.feed(html)
    levels = [int(tag[1]) for tag, _ in parser.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [attrs["id"] for _, attrs in parser.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#14171c"])
def test_every_colour_of_a_figure_stands_out_from_the_light_and_the_dark_ground(ground: str) -> None:
    for colour in (*PALETTE, *STATE_COLOURS.values()):
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_the_version_changes_with_the_content_and_only_with_it() -> None:
    first, again = (page_content(ExperimentOutcome("e", "d", (pbt(0),)), spec_text()) for _ in range(2))
    other = page_content(ExperimentOutcome("e", "d", (asha(0),)), spec_text())
    assert first.version == again.version != other.version
