"""Renders the page of an experiment: its sections, and the HTML file that contains everything."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from trainables.data.warnings import warnings_of
from tuning.comparison import Comparison, compare
from tuning.comparison.text import best_configuration
from tuning.outcome import ExperimentOutcome, StudyState, TrialState
from tuning.report.page.anytime import anytime_figure
from tuning.report.page.confirmed import confirmation_table, seed_figure
from tuning.report.page.data import data_facts, data_table
from tuning.report.page.expected import expected_figure
from tuning.report.page.figure import DataTable, Figure, colours, dashes, format_number
from tuning.report.page.front import front_figure
from tuning.report.page.hyperparameters import hyperparameter_figures
from tuning.report.page.learning import learning_figure
from tuning.report.page.lineage import lineage_figure
from tuning.report.page.recorded_spec import RecordedSpec
from tuning.report.page.rungs import rung_figure
from tuning.report.page.schedules import schedule_figure
from tuning.report.page.slots import slot_figure, utilisation_table
from tuning.report.page.tables import common_test, cost_table, pair_table, provenance_table, score_table, trial_table
from tuning.report.page.winners import winners

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("figures.js", "tables.js", "trials.js", "live.js", "start.js")


@dataclass(frozen=True)
class PageContent:
    """The part of the page that changes during a run: the body as HTML, and the figures for the page's script."""

    title: str
    body: str
    figures: Mapping[str, Any]  # figure id -> Figure.to_json()

    @property
    def version(self) -> str:
        """A hash of the content: 16 hex digits."""
        return hashlib.sha256((self.body + json.dumps(self.figures, sort_keys=True)).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Returns the JSON with which the script of an open page updates it."""
        return json.dumps({"version": self.version, "body": self.body, "figures": self.figures}, allow_nan=False)


def page_content(outcome: ExperimentOutcome, spec_text: str, *, target: float | None = None) -> PageContent:
    """Renders the body and the figures.

    Args:
        outcome: finished or not.
        spec_text: the resolved spec, as the store recorded it.
        target: the validation score for which the cost to reach it is shown.

    Raises:
        ValueError: the outcome holds no study.
    """
    spec, data = RecordedSpec.parse(spec_text), outcome.data
    comparison = compare(outcome, spec=spec.raw, target=target)
    figures = all_figures(outcome, comparison, spec)
    body = (
        template_environment()
        .get_template("body.html")
        .render(
            outcome=outcome,
            comparison=comparison,
            running=[s for s in outcome.studies if s.state is StudyState.RUNNING],
            figures={figure.id: figure for figure in figures},
            tables=_tables(outcome, comparison),
            states=[state.value for state in TrialState],
            data_facts=data_facts(data) if data else [],
            data_warnings=warnings_of(data) if data else (),
            pairs_tested=common_test(comparison),
            best=best_configuration(comparison),
            spec=spec_text,
        )
    )
    drawn = {figure.id: figure.to_json() for figure in figures if not figure.missing}
    return PageContent(f"{outcome.name} · tunefleet", body, finite_json(drawn))


def all_figures(outcome: ExperimentOutcome, comparison: Comparison, spec: RecordedSpec) -> list[Figure]:
    """Returns every figure of the page, including those without data."""
    colour, dash, chosen = colours(outcome), dashes(outcome), winners(comparison)
    return [
        *([front_figure(outcome, comparison, colour)] if comparison.goal else []),
        anytime_figure(comparison, colour, dash),
        expected_figure(comparison, colour, dash),
        learning_figure(outcome, chosen, colour, dash),
        *hyperparameter_figures(outcome, spec, chosen, colour),
        lineage_figure(outcome),
        schedule_figure(outcome),
        rung_figure(outcome, spec),
        slot_figure(outcome, colour),
        seed_figure(comparison, colour),
    ]


def render_page(content: PageContent, *, live: bool = False) -> str:
    """Renders the whole page as one HTML file that needs no network.

    Args:
        content: its body and figures.
        live: True for a page that requests newer content from its server.
    """
    plotly, script = _plotly(), _script()
    return (
        template_environment()
        .get_template("page.html")
        .render(
            title=content.title,
            body=content.body,
            made=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            data=_in_script({"version": content.version, "live": live, "figures": content.figures}),
            style=_part("page.css"),
            script=script,
            plotly=base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode(),
            hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (script, plotly)),
            live=live,
        )
    )


def _tables(outcome: ExperimentOutcome, comparison: Comparison) -> dict[str, DataTable]:
    return {
        **({"data": data_table(outcome.data)} if outcome.data else {}),
        "scores": score_table(comparison),
        "costs": cost_table(comparison),
        "pairs": pair_table(comparison),
        "trials": trial_table(outcome, winners(comparison).overall),
        "provenance": provenance_table(outcome.studies),
        "utilisation": utilisation_table(outcome.studies),
        "confirmations": confirmation_table(outcome),
    }


def _in_script(value: Any) -> str:
    """Formats JSON for a script element, which would end at the first `</script` in it."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def finite_json(value: Any) -> Any:
    """Replaces NaN and infinity by None: JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _digest(script: str) -> str:
    """Returns the hash by which a Content-Security-Policy allows a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _script() -> str:
    return "\n".join(["'use strict';", *map(_part, SCRIPTS)])


def _part(name: str) -> str:
    return (files("tuning.report.page") / "parts" / name).read_text(encoding="utf-8")


@cache
def template_environment() -> Environment:
    """Returns the Jinja environment of the page's templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tuning.report.page", "parts")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters["number"] = format_number
    return found
