"""Formats outcomes for display: one line for `repr`, HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from trainables.wording import counted
from tuning.outcome.experiment import ExperimentOutcome
from tuning.outcome.study import StudyOutcome
from tuning.outcome.trial import TrialState


def study_repr(study: StudyOutcome) -> str:
    """Formats a study in one line."""
    return (
        f"<StudyOutcome {study.strategy}, seed {study.seed}: {study.state.value}, {_trials([study])}"
        f"{_best(study, f'; best {study.metric} ')}>"
    )


def outcome_repr(outcome: ExperimentOutcome) -> str:
    """Formats an experiment in one line."""
    studies = counted(len(outcome.studies), "study", "studies")
    return f"<ExperimentOutcome {outcome.name}: {studies}, {_trials(outcome.studies)}>"


def outcome_html(outcome: ExperimentOutcome) -> str:
    """Formats an experiment as an HTML table with a row per study."""
    metric = outcome.studies[0].metric if outcome.studies else "score"
    rows = [
        (
            study.strategy,
            str(study.seed),
            study.state.value,
            _trials([study]),
            _best(study, ""),
            f"{study.device_seconds:,.0f}",
        )
        for study in outcome.studies
    ]
    columns = ("strategy", "seed", "state", "trials", f"best validation {metric}", "device-seconds")
    step = "to_dataframe() has a row per trial; tunefleet.compare(outcome) compares the strategies"
    return f"<p><b>{html_text(outcome.name)}</b></p>{html_table(columns, rows)}<p>{step}</p>"


def _trials(studies: Sequence[StudyOutcome]) -> str:
    counts = {state: sum(study.count(state) for study in studies) for state in TrialState}
    by_state = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    return f"{counted(sum(counts.values()), 'trial')}{f' ({by_state})' if by_state else ''}"


def _best(study: StudyOutcome, before: str) -> str:
    best = study.best()
    return "" if best is None else f"{before}{best[1].metrics[study.metric]:.4g} (trial {best[0].name})"


def html_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Formats a table of texts as HTML."""
    head = "".join(f"<th>{html_text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_text(text: str) -> str:
    """Escapes a text for HTML: names that users chose are not markup."""
    return html.escape(text)
