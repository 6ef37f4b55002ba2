"""`tunefleet run`, `resume` and `extend`: an experiment to its end, then its comparison."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cluster.capacity import ClusterError
from tuning.cli.command import Command
from tuning.cli.exit_status import FAILED, INTERRUPTED, SUCCESS, UNREAD
from tuning.cli.output import drop_output, print_message
from tuning.cli.parameters import experiment_argument, overrides_argument, spec_argument, storage_option
from tuning.spec.store_url import StoreError

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome, StudyOutcome
    from tuning.spec.models import ExperimentSpec


def _resume_options(command: Callable[..., int]) -> Callable[..., int]:
    """The parameters of `resume` and `extend`."""
    for parameter in (
        storage_option,
        click.option(
            "--trust-fetched",
            is_flag=True,
            help="also what was fetched from a cluster, which may then run any code as you",
        ),
        click.option(
            "--take-over",
            is_flag=True,
            help="of a run in a bucket or a PostgreSQL store: also from a driver elsewhere that may be alive; that one "
            "stops",
        ),
        click.option(
            "--force",
            is_flag=True,
            help="also with other versions of libraries, other code, or a spec.yaml that was edited; both are recorded",
        ),
        overrides_argument,
        experiment_argument,
    ):
        command = parameter(command)
    return command


@click.command(cls=Command)
@spec_argument
@overrides_argument
@click.option(
    "--fresh",
    is_flag=True,
    help="begin anew where an experiment of this name was run before; that one is removed",
)
def run_command(spec: str, overrides: tuple[str, ...], fresh: bool) -> int:
    """Run an experiment, then compare its strategies."""
    return run_read_spec(spec, overrides, fresh=fresh)


@click.command(cls=Command)
@_resume_options
def resume_command(
    experiment: str, overrides: tuple[str, ...], force: bool, take_over: bool, trust_fetched: bool, storage: str
) -> int:
    """Resume a run that was interrupted; finished trials are not run again."""
    from tuning.run_folder.recorded_spec import load_recorded_spec

    spec = load_recorded_spec(experiment, storage, overrides, force=force, trust_fetched=trust_fetched)
    return run_spec(spec, resume=True, force=force, take_over=take_over, trust_fetched=trust_fetched)


@click.command(cls=Command)
@_resume_options
def extend_command(
    experiment: str, overrides: tuple[str, ...], force: bool, take_over: bool, trust_fetched: bool, storage: str
) -> int:
    """Add seeds or strategies to an experiment; what is there is not run again."""
    from tuning.extended_spec import extended_spec

    spec = extended_spec(experiment, storage, overrides, force=force, trust_fetched=trust_fetched)
    return run_spec(spec, resume=True, force=force, take_over=take_over, trust_fetched=trust_fetched)


def run_read_spec(source: str | Mapping[str, Any], overrides: Sequence[str], *, fresh: bool) -> int:
    """Read a spec, say how it was read if it is in another tool's format, and run it; returns the exit status.

    Raises:
        SpecError: see `tuning.spec.loading.load_spec`.
    """
    from tuning.spec.loading import load_spec, translation_lines

    loaded = load_spec(source, overrides)
    with contextlib.suppress(OSError):  # if nobody reads it, the run goes on
        print(*(f"{line}\n" for line in translation_lines(source, overrides)), sep="", end="", flush=True)
    return run_spec(loaded, resume=False, fresh=fresh)


def run_spec(
    spec: ExperimentSpec,
    *,
    resume: bool,
    force: bool = False,
    take_over: bool = False,
    trust_fetched: bool = False,
    fresh: bool = False,
    resume_with: str = "",
) -> int:
    """Run or continue an experiment, then print its comparison; returns the exit status.

    Args:
        force, take_over, trust_fetched, fresh: see `run_experiment`.
        resume_with: how its user resumes it, where that is not `tunefleet resume`.
    """
    from tuning.errors import Interrupted, RepeatedFailure
    from tuning.estimate.expectation import expectation
    from tuning.experiment import run_experiment
    from tuning.run_folder.folder import has_no_scores
    from tuning.spec.models import SPEC_FILE

    next_step = f"go on with {resume_with or f'`tunefleet resume {spec.resumed_as}`'}"
    if not resume:
        with contextlib.suppress(OSError):  # if nobody reads it, the run goes on
            print(f"{spec.name}: {expectation(spec)}", flush=True)
    atexit.register(gc.freeze)  # or the interpreter searches every module for garbage before it ends: most of a second
    try:
        outcome = run_experiment(
            spec, resume=resume, force=force, take_over=take_over, trust_fetched=trust_fetched, fresh=fresh
        )
    except Interrupted as stop:
        print_message(f"{stop}; {next_step}")
        return INTERRUPTED
    except KeyboardInterrupt:  # between the studies: while Ray starts, or while the test split is scored
        if (spec.run_folder / SPEC_FILE).is_file():
            print_message(f"interrupted; {next_step}")
        return INTERRUPTED
    except RepeatedFailure as error:
        anew = "with a corrected spec `tunefleet run` begins anew; " if has_no_scores(spec) else ""
        print_message(
            f"{error}\n  {anew}where it was your code or your data, mend that and {next_step} (--force for other code)"
        )
        return FAILED
    except (ClusterError, StoreError, OSError) as error:
        if (spec.run_folder / SPEC_FILE).is_file():
            error.add_note(f"what was recorded before is kept; {next_step}")
        raise
    return _print_outcome(spec, outcome, next_commands=not resume_with)


def _print_outcome(spec: ExperimentSpec, outcome: ExperimentOutcome, *, next_commands: bool) -> int:
    """Print the comparison of a run that is complete; returns the exit status.

    Args:
        next_commands: print them, too; a job's user is on another machine, and fetches the results first.
    """
    from tuning.cli.next_steps import after_run
    from tuning.comparison import compare
    from tuning.comparison.text import print_comparison

    try:
        print_comparison(compare(outcome, spec=spec.plain()))
        sys.stdout.flush()
    except (OSError, SystemExit):  # the second is rich's, for a pipe that was closed
        drop_output()
        print_message(
            f"the run is complete; its comparison could not be written: `tunefleet compare {spec.resumed_as}` shows it"
        )
        return UNREAD
    if not print_failures(outcome):
        return FAILED
    if next_commands:
        print(after_run(spec), flush=True)
    return SUCCESS


def print_failures(outcome: ExperimentOutcome) -> bool:
    """Print the first error of each study of which every trial failed; returns True if there is none.

    An error that several studies have is printed once.
    """
    from tuning.outcome import TrialState
    from tuning.supervision.failures import without_details

    lost = [study for study in outcome.studies if study.count(TrialState.FAILED) == len(study.trials)]
    alike: dict[str, list[StudyOutcome]] = {}
    for study in lost:
        first = next((trial.error or "" for trial in study.trials), "it has no trial")
        alike.setdefault(without_details(first), []).append(study)
    for cause, studies in alike.items():
        names = "; ".join(f"{study.strategy}, seed {study.seed}" for study in studies)
        errors = [trial.error or "" for study in studies for trial in study.trials] or ["it has no trial"]
        times = sum(without_details(error) == cause for error in errors)
        often = f", {times} times with the same error" if times > 1 else ""
        print_message(f"{names}: every trial failed{often}; the first: {errors[0]}")
    return not lost
