"""The command line `tunefleet`: a file for each group of commands, put together in `tuning.cli.app`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `argv` (default: the process's own) without the program's name.

    Raises:
        SystemExit: after --help and --version (0), and after a usage error (2).
    """
    from tuning.cli.app import run_command_line  # imported late: a job listens for its stop signal before it imports

    return run_command_line(argv)
