"""`tunefleet results`, `compare` and `export`: from the study store, during a run, after a crash, or elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cluster.storage import is_uri
from trainables.errors import InputError
from tuning import core_yaml
from tuning.cli.across import loaded_across, only_one, refuse_with_across
from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.parameters import (
    across_option,
    experiment_argument,
    experiments_argument,
    storage_option,
    store_option,
    target_option,
)
from tuning.run_folder import experiments as run_experiments

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome

FORMATS = ("table", "markdown", "json", "csv")


@click.command(cls=Command)
@experiment_argument
@click.option("--json", is_flag=True, help="all that was recorded, every report included")
@storage_option
@store_option
def results_command(experiment: str, json: bool, storage: str, store: str | None) -> int:
    """Show every trial of an experiment."""
    from tuning.report.results import print_results, results_json

    outcome, _ = _load(experiment, storage, store)
    if json:
        print(results_json(outcome))
        return SUCCESS
    from tuning.report.status import find_driver

    here = None if store else run_experiments.find_experiment(experiment, storage)
    place = experiment if is_uri(experiment) else storage
    print_results(outcome, driver=None if here is None else find_driver(here, place))
    return SUCCESS


@click.command(cls=Command)
@experiments_argument
@click.option(
    "--format", "form", type=click.Choice(FORMATS), metavar="FORMAT", default="table",
    help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]} (default: table)",
)  # fmt: skip
@click.option("--json", "form", flag_value="json", help="the same as --format json")
@target_option
@click.option("--price", type=float, metavar="MONEY", help="of a device-hour (default: the budget's)")
@across_option
@storage_option
@store_option
def compare_command(
    experiments: tuple[str, ...],
    form: str,
    target: float | None,
    price: float | None,
    across: bool,
    storage: str,
    store: str | None,
) -> int:
    """Compare the strategies of an experiment."""
    if across:
        refuse_with_across({"--target": target, "--price": price})
        return _compare_across(experiments, form, storage, store)
    from tuning import comparison
    from tuning.budget import Price
    from tuning.comparison.text import comparison_csv, comparison_json, comparison_markdown, print_comparison

    outcome, spec = _load(only_one(experiments), storage, store)
    per_hour = None if price is None else Price(price, _currency(outcome))
    compared = comparison.compare(outcome, spec=spec, target=target, price=per_hour)
    written = {"json": comparison_json, "markdown": comparison_markdown, "csv": comparison_csv}
    if form == "table":
        print_comparison(compared)
    else:
        print(written[form](compared).rstrip("\n"))
    return SUCCESS


def _compare_across(experiments: tuple[str, ...], form: str, storage: str, store: str | None) -> int:
    from tuning.across.text import across_csv, across_json, across_markdown, print_across

    compared = loaded_across(experiments, storage, store)
    written = {"json": across_json, "markdown": across_markdown, "csv": across_csv}
    if form == "table":
        print_across(compared)
    else:
        print(written[form](compared).rstrip("\n"))
    return SUCCESS


@click.command(cls=Command)
@experiment_argument
@click.option("--to", metavar="FOLDER", type=click.Path(path_type=Path), help="default: EXPERIMENT-export")
@click.option(
    "--format", "form", type=click.Choice(("parquet", "csv")), metavar="FORMAT", default="parquet",
    help="parquet or csv (default: parquet)",
)  # fmt: skip
@click.option("--force", is_flag=True, help="write over files of an earlier export")
@click.option("--optuna", metavar="URL", help="write Optuna studies into this database instead: sqlite:///FILE")
@click.option("--study-name", metavar="NAME", help="of the Optuna study (default: EXPERIMENT)")
@click.option("--strategy", metavar="NAME", help="write the Optuna studies of this strategy alone")
@click.option("--seed", type=int, metavar="SEED", help="write the Optuna studies of this seed alone")
@storage_option
@store_option
def export_command(
    experiment: str,
    to: Path | None,
    form: Literal["parquet", "csv"],
    force: bool,
    optuna: str | None,
    study_name: str | None,
    strategy: str | None,
    seed: int | None,
    storage: str,
    store: str | None,
) -> int:
    """Write studies, trials, reports and confirmations as tables, or studies into a database of Optuna's."""
    from tuning.outcome import tables

    outcome, _ = _load(experiment, storage, store)
    if optuna is not None:
        from tuning.store.named_study import write_studies

        source = store or run_experiments.find_store(experiment, storage)
        for name in write_studies(outcome, source, optuna, study_name or outcome.name, strategy, seed):
            print(name)
        return SUCCESS
    for option, value in {"--study-name": study_name, "--strategy": strategy, "--seed": seed}.items():
        if value is not None:
            raise InputError(option, value, "is read with --optuna URL alone", "leave it out, or give a URL")
    for path in tables.export(outcome, to or Path(f"{outcome.name}-export"), form, force=force):
        print(path)
    return SUCCESS


def _load(experiment: str, storage: str, store: str | None) -> tuple[ExperimentOutcome, dict[str, Any]]:
    """The outcome of an experiment and its spec.

    Raises:
        StoreError: it is in no store, or the store cannot be read.
        UnknownExperiment: there is no run folder of that name.
    """
    outcome, text = run_experiments.load_experiment(experiment, storage, store)
    return outcome, core_yaml.parse_recorded_spec(text)


def _currency(outcome: ExperimentOutcome) -> str:
    """The currency of the budget's price; "" without one: the reader knows what was typed."""
    return next((study.price.currency for study in outcome.studies if study.price), "")
