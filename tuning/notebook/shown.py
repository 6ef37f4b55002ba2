"""How results show themselves: one line for `repr`, the tables of the command line for `print`, HTML in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence

from trainables.wording import counted
from tuning.comparison import Comparison
from tuning.comparison.tables import tables_of
from tuning.comparison.text import best_configuration, print_comparison
from tuning.outcome.results import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState

SHOWN_IN_REPR = 160  # characters of a verdict


def trial_line(trial: TrialOutcome) -> str:
    """The trial in one line."""
    told = ", ".join(f"{name}={value}" for name, value in trial.params.items())
    return f"<TrialOutcome {trial.name}: {trial.state.value}, {len(trial.reports)} reports; {told}>"


def study_line(study: StudyOutcome) -> str:
    """The study in one line."""
    return (
        f"<StudyOutcome {study.strategy}, seed {study.seed}: {study.state.value}, {_trials([study])}"
        f"{_best(study, f'; best {study.metric} ')}>"
    )


def outcome_line(outcome: ExperimentOutcome) -> str:
    """The experiment in one line."""
    studies = counted(len(outcome.studies), "study", "studies")
    return f"<ExperimentOutcome {outcome.name}: {studies}, {_trials(outcome.studies)}>"


def outcome_html(outcome: ExperimentOutcome) -> str:
    """A row per study."""
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
    return f"<p><b>{_text(outcome.name)}</b></p>{_table(columns, rows)}<p>{step}</p>"


def comparison_line(comparison: Comparison) -> str:
    """The verdict in one line."""
    verdict = comparison.verdict
    told = verdict if len(verdict) <= SHOWN_IN_REPR else f"{verdict[:SHOWN_IN_REPR]}..."
    return f"<Comparison of {comparison.experiment}: {told}>"


def comparison_text(comparison: Comparison) -> str:
    """The text that `tunefleet compare` prints."""
    text = io.StringIO()
    print_comparison(comparison, text)
    return text.getvalue().rstrip("\n")


def comparison_html(comparison: Comparison) -> str:
    """The same tables, verdict, caveats and best configuration."""
    better = "higher" if comparison.mode == "max" else "lower"
    parts = [f"<p><b>{_text(comparison.experiment)}</b>: {_text(comparison.metric)}, {better} is better</p>"]
    parts.append(f"<p><b>{_text(comparison.advice)}</b></p>")
    parts += [_table(table.columns, [line.cells for line in table.lines]) for table in tables_of(comparison)]
    parts.append(f"<p><b>{_text(comparison.verdict)}</b></p>")
    if comparison.caveats:
        parts.append(f"<ul>{''.join(f'<li>{_text(caveat)}</li>' for caveat in comparison.caveats)}</ul>")
    parts.append(f"<pre>{_text(best_configuration(comparison))}</pre>")
    return "".join(parts)


def _trials(studies: Sequence[StudyOutcome]) -> str:
    counts = {state: sum(study.count(state) for study in studies) for state in TrialState}
    told = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    return f"{counted(sum(counts.values()), 'trial')}{f' ({told})' if told else ''}"


def _best(study: StudyOutcome, before: str) -> str:
    best = study.best()
    return "" if best is None else f"{before}{best[1].metrics[study.metric]:.4g} (trial {best[0].name})"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(text)
