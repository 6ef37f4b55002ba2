"""Formats a comparison for display: one line for `repr`, tables for `print`, HTML for a notebook."""

from __future__ import annotations

import io

from tuning.comparison.tables import comparison_tables
from tuning.comparison.text import best_configuration, print_comparison
from tuning.comparison.types import Comparison
from tuning.outcome.display import html_table, html_text

SHOWN_IN_REPR = 160  # characters of a verdict


def comparison_repr(comparison: Comparison) -> str:
    """Formats a comparison in one line with its verdict."""
    verdict = comparison.verdict
    shortened = verdict if len(verdict) <= SHOWN_IN_REPR else f"{verdict[:SHOWN_IN_REPR]}..."
    return f"<Comparison of {comparison.experiment}: {shortened}>"


def comparison_text(comparison: Comparison) -> str:
    """Returns the text that `tunefleet compare` prints."""
    text = io.StringIO()
    print_comparison(comparison, text)
    return text.getvalue().rstrip("\n")


def comparison_html(comparison: Comparison) -> str:
    """Formats tables, verdict, caveats and best configuration as HTML."""
    better = "higher" if comparison.mode == "max" else "lower"
    parts = [f"<p><b>{html_text(comparison.experiment)}</b>: {html_text(comparison.metric)}, {better} is better</p>"]
    parts.append(f"<p><b>{html_text(comparison.advice)}</b></p>")
    parts += [
        html_table(table.columns, [line.cells for line in table.lines]) for table in comparison_tables(comparison)
    ]
    parts.append(f"<p><b>{html_text(comparison.verdict)}</b></p>")
    if comparison.caveats:
        parts.append(f"<ul>{''.join(f'<li>{html_text(caveat)}</li>' for caveat in comparison.caveats)}</ul>")
    parts.append(f"<pre>{html_text(best_configuration(comparison))}</pre>")
    return "".join(parts)
