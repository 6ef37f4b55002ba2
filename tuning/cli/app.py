"""The command `tunefleet`: a subcommand, a spec, key=value. Each group of commands has a file beside this one.

In: the words of a command line. Out: an exit status (`tuning.cli.exit_status`); errors go to standard error.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from tuning.cli.cluster import cluster_group
from tuning.cli.command import NAME, CommandGroup, print_usage_error
from tuning.cli.completion import VARIABLE, completion_command
from tuning.cli.doctor import doctor_command
from tuning.cli.estimate import estimate_command
from tuning.cli.exit_status import exit_status_of
from tuning.cli.init import init_command
from tuning.cli.jobs import (
    fetch_command,
    jobs_command,
    logs_command,
    status_command,
    stop_command,
    submit_command,
)
from tuning.cli.ls import ls_command
from tuning.cli.report import report_command
from tuning.cli.results import compare_command, export_command, results_command
from tuning.cli.rm import rm_command
from tuning.cli.run import extend_command, resume_command, run_command
from tuning.cli.sweep_agent import sweep_agent_command
from tuning.cli.train_final import train_final_command
from tuning.cli.validate import validate_command

YOUNG_OBJECTS = 100_000  # before garbage is searched for: Python's 700 does so 600 times during the imports
COMMANDS = (  # in the order of the help: to run, to read, to continue, to maintain; then those for a cluster elsewhere
    *(run_command, validate_command, estimate_command, init_command, ls_command),
    *(results_command, compare_command, report_command, export_command),
    *(sweep_agent_command, resume_command, extend_command, doctor_command, rm_command, train_final_command),
    *(submit_command, jobs_command, status_command, logs_command, stop_command, fetch_command),
    *(cluster_group, completion_command),
)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Start with: tunefleet run quickstart",
)
@click.version_option(package_name=NAME, message=f"{NAME} %(version)s")
def tunefleet() -> None:
    """Tune a Hugging Face fine-tuning with several search strategies on Ray, and compare them."""


for _command in COMMANDS:
    tunefleet.add_command(_command)


def run_command_line(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `tuning.cli.main`."""
    gc.set_threshold(YOUNG_OBJECTS)
    _open_closed_streams()
    if instruction := os.environ.get(VARIABLE):  # a shell completes a word
        return shell_complete(tunefleet, {}, NAME, VARIABLE, instruction)
    if (here := os.getcwd()) not in sys.path:  # a spec may name a trainable of the user's own; Ray does it for workers
        sys.path.append(here)
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_status_of(lambda: _dispatch(words), reraise=True)  # a command has handled its own errors by then


def _dispatch(words: list[str]) -> int:
    """Find and run the command that the words name; its exit status."""
    try:
        with tunefleet.make_context(NAME, words) as context:
            return int(tunefleet.invoke(context))
    except click.exceptions.Exit as end:  # of --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        print_usage_error(error)
        return error.exit_code


def _open_closed_streams() -> None:
    """Open what `>&-` has closed: the next file that is opened would become a standard stream."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
