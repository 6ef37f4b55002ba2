"""The command `tunefleet`: a subcommand, a spec, key=value. Each subcommand has a module that declares and obeys it.

The exit status is one of `tuning.cli.terminal`'s.
Errors go to standard error, on lines that say what to do next; the traceback is shown with --debug.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from cluster.capacity import ClusterError
from trainables.errors import InputError, nearest
from tuning.cli.doctor import add_doctor
from tuning.cli.init import add_init
from tuning.cli.jobs import add_job_commands
from tuning.cli.listing import add_ls
from tuning.cli.nodes import add_nodes
from tuning.cli.reading import add_compare, add_export, add_results
from tuning.cli.removal import add_remove
from tuning.cli.report import add_report
from tuning.cli.run import add_extend, add_resume, add_run
from tuning.cli.terminal import FAILED, INTERRUPTED, UNREAD, WRONG_INPUT, drop_output, tell
from tuning.cli.train_final import add_train_final
from tuning.cli.validate import add_validate
from tuning.errors import RunFolderError
from tuning.run_folder.experiments import UnknownExperiment
from tuning.selection.hub import HubError
from tuning.spec.mistakes import SpecError
from tuning.spec.store_url import StoreError
from tuning.tracking.tracking import TrackingError

YOUNG_OBJECTS = 100_000  # before garbage is searched for: Python's 700 does so 600 times during the imports
UNKNOWN_COMMAND = re.compile(r"argument (?:COMMAND|ACTION): invalid choice: '(.*)' \(choose from (.*)\)")
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
    """Run `command` and return its exit status; an error that it ends in goes to standard error."""
    try:
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return UNREAD
    except Exception as error:
        if debug:
            raise
        hint = "" if isinstance(error, EXPECTED) else " (--debug shows where)"
        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        for line in (f"{kind}{error}{hint}", *getattr(error, "__notes__", ())):
            tell(line)
        return WRONG_INPUT if isinstance(error, WRONG_INPUTS) else FAILED


def _open_what_is_closed() -> None:
    """Started with standard streams closed (`>&-`): the next file that is opened would become one of them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """argparse takes no more key=value, or experiments, after an option; people type them in any order."""
    top = parser()
    if not (sys.argv[1:] if argv is None else argv):
        top.print_help(sys.stderr)
        top.exit(WRONG_INPUT)
    arguments, rest = top.parse_known_args(argv)
    more = "others" if "others" in arguments else "overrides"
    stray = [word for word in rest if word.startswith("-") or (more == "overrides" and "=" not in word)]
    if stray or (rest and more not in arguments):
        top.error(f"unrecognized arguments: {' '.join(stray or rest)}")
    if rest:
        setattr(arguments, more, [*getattr(arguments, more), *rest])
    return arguments


class CommandParser(argparse.ArgumentParser):
    """Tells which command may be meant by one that is not there."""

    def error(self, message: str) -> NoReturn:
        """See `ArgumentParser.error`."""
        if found := UNKNOWN_COMMAND.fullmatch(message):
            message = f"no command {found[1]!r}; {nearest(found[1], re.findall(r'[a-z-]+', found[2]))}"
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    top: argparse.ArgumentParser = CommandParser(
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

    _add_overrides(add_run(add))
    _add_overrides(add_validate(add))
    add_init(add)
    _add_place(add_ls(add))
    _add_experiment(add_results(add))
    _add_experiment(add_compare(add), several=True)
    _add_experiment(add_report(add), several=True)
    _add_experiment(add_export(add))
    resume = add_resume(add)
    _add_experiment(resume, store=False)
    _add_overrides(resume)
    extend = add_extend(add)
    _add_experiment(extend, store=False)
    _add_overrides(extend)
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


def _add_experiment(sub: argparse.ArgumentParser, *, store: bool = True, several: bool = False) -> None:
    sub.add_argument("experiment", metavar="EXPERIMENT", help="its name, its run folder, or s3://BUCKET/FOLDER/NAME")
    if several:
        sub.add_argument("others", metavar="EXPERIMENT", nargs="*", default=[], help="more of them, with --across")
        sub.add_argument("--across", action="store_true", help="over several experiments, each of which is a task")
    _add_place(sub, store=store)


def _add_place(sub: argparse.ArgumentParser, *, store: bool = True) -> None:
    sub.add_argument("--storage", metavar="FOLDER", default="runs", help="where the run folders are (default: runs)")
    if store:
        sub.add_argument("--store", metavar="URL", help="the study store, where it is not the run folder's own")
