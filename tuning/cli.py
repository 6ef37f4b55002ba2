"""The command `tunefleet`: a subcommand, a spec, key=value. Each subcommand is one function below.

Exit status: 0 success; 1 the run failed; 2 wrong input; 130 interrupted; 141 nobody reads its output (`| head`); a run
goes on to its end without.
Errors go to standard error, on lines that say what to do next; the traceback is shown with --debug.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from cluster.storage import is_uri
from trainables.errors import InputError
from tuning.checks.mistakes import SpecError
from tuning.cluster_commands import add_job_commands
from tuning.cluster_nodes import add_nodes
from tuning.doctor import add_doctor
from tuning.experiments import UnknownExperiment, find_experiment, find_store, found_in
from tuning.finish.command import add_train_final
from tuning.finish.hub import HubError
from tuning.listing import LISTED, list_what
from tuning.reading_commands import add_compare, add_export, recorded
from tuning.removal_command import add_remove
from tuning.report_command import add_report
from tuning.run.folder import RunFolderError
from tuning.starting.command import add_init
from tuning.store.url import StoreError
from tuning.tracking.tracking import TrackingError

if TYPE_CHECKING:
    from tuning.outcome import ExperimentOutcome, StudyOutcome
    from tuning.spec import ExperimentSpec

SUCCESS, FAILED, WRONG_INPUT, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
YOUNG_OBJECTS = 100_000  # before garbage is searched for: Python's 700 does so 600 times during the imports
WRONG_INPUTS = (SpecError, InputError, UnknownExperiment, RunFolderError)
EXPECTED = (*WRONG_INPUTS, ClusterError, StoreError, TrackingError, HubError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` without the program's name. Returns the exit status."""
    gc.set_threshold(YOUNG_OBJECTS)
    _open_what_is_closed()
    arguments = _parse(argv)
    if (here := os.getcwd()) not in sys.path:  # a spec may name a trainable of the user's own; Ray does it for workers
        sys.path.append(here)
    return obey(lambda: arguments.command(arguments), debug=arguments.debug)


def obey(command: Callable[[], int], *, debug: bool = False) -> int:
    """The exit status of `command`; its error, if it ends in one, goes to standard error."""
    try:
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return UNREAD
    except Exception as error:
        if debug:
            raise
        hint = "" if isinstance(error, EXPECTED) else " (--debug shows where)"
        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        for line in (f"{kind}{error}{hint}", *getattr(error, "__notes__", ())):
            _tell(line)
        return WRONG_INPUT if isinstance(error, WRONG_INPUTS) else FAILED


def _tell(line: str) -> None:
    """One line on standard error, unless that was closed, with its terminal for one."""
    with contextlib.suppress(OSError):
        print(f"tunefleet: {line}", file=sys.stderr, flush=True)


def _drop_output() -> None:
    """Python would write what is left when it ends, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """Started with standard streams closed (`>&-`): the next file that is opened would become one of them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """argparse takes no more key=value after an option; people type them in any order."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or "=" not in word or "overrides" not in arguments]
    if stray:
        top.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    return arguments


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="tunefleet",
        description="Tune a Hugging Face fine-tuning with several search strategies on Ray, and compare them.",
        epilog="Start with: tunefleet run quickstart",
    )
    top.add_argument("--version", action="version", version=f"tunefleet {version('tunefleet')}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(command=command)
        return sub

    for name, command, summary in (
        ("run", _run, "run an experiment, then compare its strategies"),
        ("validate", _validate, "check a spec and name every mistake; nothing is started"),
    ):
        sub = add(name, command, summary)
        sub.add_argument("spec", metavar="SPEC", help="a YAML file, or a preset (tunefleet ls presets)")
        if name == "run":
            sub.add_argument(
                "--fresh",
                action="store_true",
                help="begin anew where an experiment of this name was run before; that one is removed",
            )
        _add_overrides(sub)
    add_init(add)
    sub = add("ls", list_what, "list the experiments that were run, and the strategies, tasks and presets")
    sub.add_argument("what", nargs="?", choices=LISTED, help="default: all but the studies")
    _add_place(sub)
    sub = add("results", _results, "show every trial of an experiment")
    _add_experiment(sub)
    sub.add_argument("--json", action="store_true", help="all that was recorded, every report included")
    _add_experiment(add_compare(add))
    _add_experiment(add_report(add))
    _add_experiment(add_export(add))
    sub = add("resume", _resume, "go on where a run was interrupted; finished trials are not run again")
    _add_experiment(sub, store=False)
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
    _add_overrides(sub)
    _add_overrides(add_doctor(add))
    _add_experiment(add_remove(add))
    _add_experiment(add_train_final(add))
    _add_overrides(add_job_commands(add))
    add_nodes(commands)
    return top


def _add_overrides(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        default=[],  # without it, argparse calls the overrides required
        help="change the spec: epochs=2 strategies.0.trials=8 data.path=my.csv",
    )


def _add_experiment(sub: argparse.ArgumentParser, *, store: bool = True) -> None:
    sub.add_argument("experiment", metavar="EXPERIMENT", help="its name, its run folder, or s3://BUCKET/FOLDER/NAME")
    _add_place(sub, store=store)


def _add_place(sub: argparse.ArgumentParser, *, store: bool = True) -> None:
    sub.add_argument("--storage", metavar="FOLDER", default="runs", help="where the run folders are (default: runs)")
    if store:
        sub.add_argument("--store", metavar="URL", help="the study store, where it is not the run folder's own")


def _run(arguments: argparse.Namespace) -> int:
    from tuning.spec import load_spec

    return run_spec(load_spec(arguments.spec, arguments.overrides), resume=False, fresh=arguments.fresh)


def _resume(arguments: argparse.Namespace) -> int:
    from tuning.run.folder import refuse_changed, refuse_fetched
    from tuning.spec import SPEC_FILE, load_spec
    from tuning.store.study_store import StudyStore

    folder = find_experiment(arguments.experiment, arguments.storage)
    if not arguments.trust_fetched:
        refuse_fetched(folder)
    if not arguments.force:  # before it is read: a damaged one may be no spec any more, or another experiment's
        store = functools.partial(find_store, arguments.experiment, arguments.storage)
        refuse_changed(folder / SPEC_FILE, lambda: StudyStore(store()).spec(folder.name))
    here = f"cluster.storage={found_in(arguments.experiment, arguments.storage)}"
    spec = load_spec(folder / SPEC_FILE, [here, *arguments.overrides])
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
    from tuning.run.ends import FailedAlike, Interrupted
    from tuning.run.folder import nothing_scored
    from tuning.run.runner import run_experiment
    from tuning.spec import SPEC_FILE

    next_step = f"go on with {go_on or f'`tunefleet resume {spec.resumed_as}`'}"
    atexit.register(gc.freeze)  # or the interpreter searches every module for garbage before it ends: most of a second
    try:
        outcome = run_experiment(
            spec, resume=resume, force=force, take_over=take_over, trust_fetched=trust_fetched, fresh=fresh
        )
    except Interrupted as stop:
        _tell(f"{stop}; {next_step}")
        return INTERRUPTED
    except KeyboardInterrupt:  # between the studies: while Ray starts, or while the test split is scored
        if (spec.run_folder / SPEC_FILE).is_file():
            _tell(f"interrupted; {next_step}")
        return INTERRUPTED
    except FailedAlike as error:
        anew = "with a corrected spec `tunefleet run` begins anew; " if nothing_scored(spec) else ""
        _tell(f"{error}; {anew}where it was your code or your data, mend that and {next_step} (--force for other code)")
        return FAILED
    except (ClusterError, StoreError, OSError) as error:
        if (spec.run_folder / SPEC_FILE).is_file():
            error.add_note(f"what was recorded before is kept; {next_step}")
        raise
    from tuning.comparison import compare
    from tuning.next_steps import after_run
    from tuning.report import print_comparison

    try:
        print_comparison(compare(outcome, spec=spec.model_dump(mode="json")))
        sys.stdout.flush()
    except (OSError, SystemExit):  # the second is rich's, for a pipe that was closed
        _drop_output()
        _tell(
            f"the run is complete; its comparison could not be written: `tunefleet compare {spec.resumed_as}` shows it"
        )
        return UNREAD
    if not tell_failures(outcome):
        return FAILED
    if not go_on:  # a job's user is on another machine, and fetches it first
        print(after_run(spec), flush=True)
    return SUCCESS


def tell_failures(outcome: ExperimentOutcome) -> bool:
    """Whether every study has a trial that did not fail; the first error of those that have none goes to stderr, once
    where it is the same in several."""
    from tuning.outcome import TrialState
    from tuning.run.failures import blanked

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
        _tell(f"{names}: every trial failed{often}; the first: {errors[0]}")
    return not lost


def _validate(arguments: argparse.Namespace) -> int:
    from tuning.checks.before_run import require_ending_warmups, require_runnable
    from tuning.checks.cautions import cautions
    from tuning.data_block import data_lines, summary_here
    from tuning.next_steps import after_validate
    from tuning.planned import planned_lines
    from tuning.spec import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)
    require_runnable(spec)
    require_ending_warmups(spec, data := summary_here(spec))
    objective = spec.resolved_objective()
    better = "higher" if objective.mode == "max" else "lower"
    epochs = "1 epoch" if spec.epochs == 1 else f"{spec.epochs:g} epochs"
    seeds = f"seed{'' if len(spec.seeds) == 1 else 's'} {', '.join(map(str, spec.seeds))}"
    print(f"{spec.name}: valid")
    print(f"  {spec.task} with {spec.model}; {objective.metric}, {better} is better; {epochs} per trial; {seeds}")
    for line in planned_lines(spec):
        print(f"    {line}")
    if (limit := spec.budget.limit) is not None:
        print(f"  each study ends at {limit.describe()}, whatever its strategy would still do")
        for strategy in spec.strategies if limit.unit == "epochs" else ():
            planned = strategy.planned_epochs(spec.space_of(strategy), spec.epochs)
            if planned is not None and planned > limit.amount:
                print(f"  {strategy.name} plans {planned:g} epochs: it is cut")
    print(f"  run folder {spec.run_folder}")
    for caution in cautions(spec):
        print(f"  note: {caution}")
    if data is not None:
        print(*data_lines(data, objective.metric), sep="\n")
    elif spec.trainable == "finetune":
        print(f"data: {spec.data.hub or spec.task} is looked at when a run starts")
    print(after_validate(arguments.spec, arguments.overrides))
    return SUCCESS


def _results(arguments: argparse.Namespace) -> int:
    from tuning.results import print_results, results_json

    outcome, _ = recorded(arguments)
    if arguments.json:
        print(results_json(outcome))
    else:
        from tuning.standing import driver_of

        here = None if arguments.store else find_experiment(arguments.experiment, arguments.storage)
        storage = arguments.experiment if is_uri(arguments.experiment) else arguments.storage
        print_results(outcome, driver=None if here is None else driver_of(here, storage))
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
