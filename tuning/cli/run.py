"""`tunefleet run` and `tunefleet resume`: an experiment to its end, then its comparison."""

from __future__ import annotations

import argparse
import atexit
import functools
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from tuning.cli.terminal import FAILED, INTERRUPTED, SUCCESS, UNREAD, Add, drop_output, tell
from tuning.run_folder.experiments import find_experiment, find_store, storage_of
from tuning.spec.store_url import StoreError

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome, StudyOutcome
    from tuning.spec.models import ExperimentSpec


def add_run(add: Add) -> argparse.ArgumentParser:
    """Declare `run`; returns it for the words that change the spec."""
    sub = add("run", _run, "run an experiment, then compare its strategies")
    sub.add_argument("spec", metavar="SPEC", help="a YAML file, or a preset (tunefleet ls presets)")
    sub.add_argument(
        "--fresh",
        action="store_true",
        help="begin anew where an experiment of this name was run before; that one is removed",
    )
    return sub


def add_resume(add: Add) -> argparse.ArgumentParser:
    """Declare `resume`; returns it for the words that name an experiment and change its spec."""
    return _add_going_on(add("resume", _resume, "go on where a run was interrupted; finished trials are not run again"))


def add_extend(add: Add) -> argparse.ArgumentParser:
    """Declare `extend`; returns it for the words that name an experiment and say what is added."""
    return _add_going_on(
        add("extend", _extend, "add seeds or strategies to an experiment; what is there is not run again")
    )


def _add_going_on(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument(
        "--force",
        action="store_true",
        help="also with other versions of libraries, other code, or a spec.yaml that was edited; both are recorded",
    )
    sub.add_argument(
        "--take-over",
        action="store_true",
        help="of a run in a bucket: also from a driver on another machine that may be alive; that one stops",
    )
    sub.add_argument(
        "--trust-fetched",
        action="store_true",
        help="also what was fetched from a cluster, which may then run any code as you",
    )
    return sub


def _run(arguments: argparse.Namespace) -> int:
    from tuning.spec.loading import load_spec

    return run_spec(load_spec(arguments.spec, arguments.overrides), resume=False, fresh=arguments.fresh)


def _resume(arguments: argparse.Namespace) -> int:
    return _go_on(arguments, _kept(arguments, arguments.overrides))


def _extend(arguments: argparse.Namespace) -> int:
    from tuning.extension import extended, was_judged

    before, asked = _kept(arguments), _kept(arguments, arguments.overrides)
    judged = was_judged(before.name, find_store(arguments.experiment, arguments.storage))
    return _go_on(arguments, extended(before, asked, judged=judged))


def _kept(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> ExperimentSpec:
    """The spec of the run folder that the words name, if it may be gone on with."""
    from tuning.run_folder.folder import refuse_changed, refuse_fetched
    from tuning.spec.loading import load_spec
    from tuning.spec.models import SPEC_FILE
    from tuning.store.study_store import StudyStore

    folder = find_experiment(arguments.experiment, arguments.storage)
    if not arguments.trust_fetched:
        refuse_fetched(folder)
    if not arguments.force:  # before it is read: a damaged one may be no spec any more, or another experiment's
        store = functools.partial(find_store, arguments.experiment, arguments.storage)
        refuse_changed(folder / SPEC_FILE, lambda: StudyStore(store()).spec(folder.name))
    here = f"cluster.storage={storage_of(arguments.experiment, arguments.storage)}"
    return load_spec(folder / SPEC_FILE, [here, *overrides])


def _go_on(arguments: argparse.Namespace, spec: ExperimentSpec) -> int:
    return run_spec(
        spec,
        resume=True,
        force=arguments.force,
        take_over=arguments.take_over,
        trust_fetched=arguments.trust_fetched,
    )


def run_spec(
    spec: ExperimentSpec,
    *,
    resume: bool,
    force: bool = False,
    take_over: bool = False,
    trust_fetched: bool = False,
    fresh: bool = False,
    go_on: str = "",
) -> int:
    """Run or go on with an experiment, then print its comparison; the exit status.

    Args:
        force, take_over, trust_fetched, fresh: see `run_experiment`.
        go_on: how its user resumes it, where that is not `tunefleet resume`.
    """
    from tuning.errors import Interrupted, RepeatedFailure
    from tuning.experiment import run_experiment
    from tuning.run_folder.folder import has_no_scores
    from tuning.spec.models import SPEC_FILE

    next_step = f"go on with {go_on or f'`tunefleet resume {spec.resumed_as}`'}"
    atexit.register(gc.freeze)  # or the interpreter searches every module for garbage before it ends: most of a second
    try:
        outcome = run_experiment(
            spec, resume=resume, force=force, take_over=take_over, trust_fetched=trust_fetched, fresh=fresh
        )
    except Interrupted as stop:
        tell(f"{stop}; {next_step}")
        return INTERRUPTED
    except KeyboardInterrupt:  # between the studies: while Ray starts, or while the test split is scored
        if (spec.run_folder / SPEC_FILE).is_file():
            tell(f"interrupted; {next_step}")
        return INTERRUPTED
    except RepeatedFailure as error:
        anew = "with a corrected spec `tunefleet run` begins anew; " if has_no_scores(spec) else ""
        tell(
            f"{error}\n  {anew}where it was your code or your data, mend that and {next_step} (--force for other code)"
        )
        return FAILED
    except (ClusterError, StoreError, OSError) as error:
        if (spec.run_folder / SPEC_FILE).is_file():
            error.add_note(f"what was recorded before is kept; {next_step}")
        raise
    from tuning.cli.next_steps import after_run
    from tuning.comparison import compare
    from tuning.comparison.text import print_comparison

    try:
        print_comparison(compare(outcome, spec=spec.plain()))
        sys.stdout.flush()
    except (OSError, SystemExit):  # the second is rich's, for a pipe that was closed
        drop_output()
        tell(
            f"the run is complete; its comparison could not be written: `tunefleet compare {spec.resumed_as}` shows it"
        )
        return UNREAD
    if not tell_failures(outcome):
        return FAILED
    if not go_on:  # a job's user is on another machine, and fetches it first
        print(after_run(spec), flush=True)
    return SUCCESS


def tell_failures(outcome: ExperimentOutcome) -> bool:
    """True if every study has a trial that did not fail.

    The first error of those that have none goes to standard error, once where it is the same in several.
    """
    from tuning.outcome import TrialState
    from tuning.supervision.failures import blanked

    lost = [study for study in outcome.studies if study.count(TrialState.FAILED) == len(study.trials)]
    alike: dict[str, list[StudyOutcome]] = {}
    for study in lost:
        first = next((trial.error or "" for trial in study.trials), "it has no trial")
        alike.setdefault(blanked(first), []).append(study)
    for cause, studies in alike.items():
        names = "; ".join(f"{study.strategy}, seed {study.seed}" for study in studies)
        errors = [trial.error or "" for study in studies for trial in study.trials] or ["it has no trial"]
        times = sum(blanked(error) == cause for error in errors)
        often = f", {times} times with the same error" if times > 1 else ""
        tell(f"{names}: every trial failed{often}; the first: {errors[0]}")
    return not lost
