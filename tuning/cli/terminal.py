"""What the modules of the commands share: how one is declared, how it ends, what it says beside its output.

Exit status: 0 success; 1 the run failed; 2 wrong input; 130 interrupted; 141 nobody reads its output (`| head`); a run
goes on to its end without.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable

# Declares a command: its name, the function that obeys it (and returns the exit status), one line about it.
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
SUCCESS, FAILED, WRONG_INPUT, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141


def tell(line: str) -> None:
    """Print one line on standard error, unless that was closed, such as with its terminal."""
    with contextlib.suppress(OSError):
        print(f"tunefleet: {line}", file=sys.stderr, flush=True)


def drop_output() -> None:
    """Give up standard output, which nobody reads: Python would write what is left when it ends, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
