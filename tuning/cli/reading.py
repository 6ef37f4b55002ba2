"""`tunefleet results`, `compare` and `export`: from the study store, while a run goes on, after a crash, elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.storage import is_uri
from tuning import core_yaml
from tuning.cli.across import across_of, is_across
from tuning.cli.terminal import Add
from tuning.run_folder import experiments

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome

FORMATS = ("table", "markdown", "json", "csv")


def add_compare(add: Add) -> argparse.ArgumentParser:
    """The subcommand, without the words that name an experiment."""
    sub = add("compare", _compare, "compare the strategies of an experiment")
    sub.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    sub.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    sub.add_argument(
        "--target", type=float, metavar="SCORE", help="tell what it cost to reach it (default: the worst final score)"
    )
    sub.add_argument("--price", type=float, metavar="MONEY", help="of a device-hour; default: the budget's")
    return sub


def add_export(add: Add) -> argparse.ArgumentParser:
    """The subcommand, without the words that name an experiment."""
    sub = add("export", _export, "write studies, trials, reports and confirmations as tables")
    sub.add_argument("--to", metavar="FOLDER", type=Path, help="default: EXPERIMENT-export")
    sub.add_argument("--format", choices=("parquet", "csv"), default="parquet", help="default: %(default)s")
    sub.add_argument("--force", action="store_true", help="write over files of an earlier export")
    return sub


def add_results(add: Add) -> argparse.ArgumentParser:
    """The subcommand, without the words that name an experiment."""
    sub = add("results", _results, "show every trial of an experiment")
    sub.add_argument("--json", action="store_true", help="all that was recorded, every report included")
    return sub


def recorded(arguments: argparse.Namespace) -> tuple[ExperimentOutcome, dict[str, Any]]:
    """The outcome of the experiment that the words name, and its spec.

    Raises:
        StoreError: it is in no store, or the store cannot be read.
        UnknownExperiment: there is no run folder of that name.
    """
    outcome, text = experiments.load_recorded(arguments.experiment, arguments.storage, arguments.store)
    return outcome, core_yaml.parse_recorded_spec(text)


def _results(arguments: argparse.Namespace) -> int:
    from tuning.report.results import print_results, results_json

    outcome, _ = recorded(arguments)
    if arguments.json:
        print(results_json(outcome))
    else:
        from tuning.report.status import find_driver

        here = None if arguments.store else experiments.find_experiment(arguments.experiment, arguments.storage)
        storage = arguments.experiment if is_uri(arguments.experiment) else arguments.storage
        print_results(outcome, driver=None if here is None else find_driver(here, storage))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    if is_across(arguments, "--target", "--price"):
        return _compare_across(arguments)
    from tuning.budget import Price
    from tuning.comparison import compare
    from tuning.comparison.text import comparison_csv, comparison_json, comparison_markdown, print_comparison

    outcome, spec = recorded(arguments)
    price = None if arguments.price is None else Price(arguments.price, _currency(outcome))
    comparison = compare(outcome, spec=spec, target=arguments.target, price=price)
    written = {"json": comparison_json, "markdown": comparison_markdown, "csv": comparison_csv}
    if arguments.format == "table":
        print_comparison(comparison)
    else:
        print(written[arguments.format](comparison).rstrip("\n"))
    return 0


def _compare_across(arguments: argparse.Namespace) -> int:
    from tuning.across.text import across_csv, across_json, across_markdown, print_across

    across = across_of(arguments)
    written = {"json": across_json, "markdown": across_markdown, "csv": across_csv}
    if arguments.format == "table":
        print_across(across)
    else:
        print(written[arguments.format](across).rstrip("\n"))
    return 0


def _currency(outcome: ExperimentOutcome) -> str:
    """Of the budget's price; without one the reader knows what was typed."""
    return next((study.price.currency for study in outcome.studies if study.price), "")


def _export(arguments: argparse.Namespace) -> int:
    from tuning.outcome.tables import export

    outcome, _ = recorded(arguments)
    folder = arguments.to or Path(f"{outcome.name}-export")
    for path in export(outcome, folder, arguments.format, force=arguments.force):
        print(path)
    return 0
