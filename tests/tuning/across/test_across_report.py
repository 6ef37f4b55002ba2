"""A comparison over several experiments as text, CSV, JSON, Markdown and a page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.several_experiments import alike_everywhere, experiment
from tuning.across import Across, compare_across
from tuning.across.text import across_csv, across_json, across_markdown
from tuning.report.page.across import across_content
from tuning.report.page.document import render_page

pytestmark = pytest.mark.unit


def printed(across: Across) -> str:
    return "\n".join(line.rstrip() for line in str(across).splitlines())


def test_the_terminal_shows_it_in_80_columns_and_the_other_forms_hold_the_same() -> None:
    across = compare_across(alike_everywhere(3))
    text = printed(across)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("3 strategies over 3 tasks\n")
    assert " pbt      1.00 3 of 3  1.00 [0.96, 1.04]" in text
    assert "Normalised scores: in each task 0 is the worst mean" in text
    plain = json.loads(across_json(across))
    assert plain["schema_version"] == 2
    assert plain["friedman"] == {"statistic": pytest.approx(6.0), "p": pytest.approx(1 / 36), "exact": True}
    assert plain["pairs"][0].keys() >= {"wins", "losses", "better", "difference", "p", "corrected", "shown"}
    assert across_markdown(across).startswith("## 3 strategies over 3 tasks\n")
    assert plain["rows"][-1]["middle"] == 0.0
    lines = across_csv(across).splitlines()
    assert lines[0] == "experiment,metric,strategy,seeds,test,rank,normalised,device_seconds"
    assert len(lines) == 1 + 3 * 3
    assert lines[1].startswith("task0,accuracy,pbt,3,0.621,1.0,1.0,300")


def test_the_page_has_each_figure_in_words_and_as_numbers() -> None:
    across = compare_across(alike_everywhere(3))
    content = across_content(across)
    assert content.figures.keys() == {"ranks", "profiles", "middles", "chances"}
    assert content.figures["ranks"]["views"][0]["summary"] == "Mean ranks: pbt 1.00, asha 2.00 and grid 3.00."
    assert ("pbt", "task0", 1.0) in [tuple(row) for row in content.figures["ranks"]["rows"]]
    summary = content.figures["profiles"]["views"][0]["summary"]
    assert summary == "Searches with a normalised score above 0.5: pbt 100 %, asha 100 % and grid 0 %."
    lines = [t for t in content.figures["profiles"]["views"][0]["plot"]["data"] if t.get("name")]
    assert [line["name"] for line in lines] == ["pbt", "asha", "grid"]
    assert len({(line["line"]["color"], line["line"]["dash"]) for line in lines}) == 3
    assert [row[0] for row in content.figures["middles"]["rows"]] == ["pbt", "asha", "grid"]
    assert len(content.figures["chances"]["rows"]) == 3
    assert "no test of two strategies over tasks can show a difference" in content.body
    html = render_page(content)
    assert "<title>task0, task1, task2 · tunefleet</title>" in html


def test_a_hostile_name_stays_a_text_on_the_page() -> None:
    outcomes = [replace(one, name=f"<img src=x>{n}") for n, one in enumerate(alike_everywhere(2))]
    content = across_content(compare_across(outcomes))
    assert "<img" not in content.body
    assert "&lt;img src=x&gt;0" in content.body


def test_a_page_without_a_scale_says_why() -> None:
    flat = experiment("flat", {"pbt": [0.5], "grid": [0.5], "asha": [0.5]})
    content = across_content(compare_across([flat, replace(flat, name="also")]))
    assert content.figures.keys() == {"ranks", "chances"}
    assert content.body.count("Not shown: all strategies have the same mean in each task.") == 2
