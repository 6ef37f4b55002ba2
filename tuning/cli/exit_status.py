"""The exit statuses of `tunefleet`, and how a command that ends in an error gets one.

In: a command as a function. Out: its status; messages on standard error, each with what to do next. A command that
ends without an error returns its own status: `run` also FAILED, if every trial of a study failed, and UNREAD.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from cluster.capacity import ClusterError
from trainables.errors import InputError
from tuning.cli.output import drop_output, print_message
from tuning.errors import Interrupted, RunFolderError
from tuning.run_folder.experiments import UnknownExperiment
from tuning.selection.hub import HubError
from tuning.spec.mistakes import SpecError
from tuning.spec.store_url import StoreError
from tuning.tracking.tracking import TrackingError

SUCCESS = 0
FAILED = 1  # the run, or what it needs, such as a store or a cluster
WRONG_INPUT = 2
INTERRUPTED = 130
UNREAD = 141  # the reader of standard output has gone (`| head`); a run goes on to its end without one

WRONG_INPUTS = (SpecError, InputError, UnknownExperiment, RunFolderError)
EXPECTED = (*WRONG_INPUTS, ClusterError, StoreError, TrackingError, HubError)


def exit_status_of(command: Callable[[], int], *, reraise: bool = False) -> int:
    """Run `command` and return its exit status; the error that ends it is printed on standard error.

    Args:
        reraise: raise that error instead: `--debug` shows its traceback so.
    """
    try:
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Interrupted as stop:
        print_message(str(stop))
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return UNREAD
    except Exception as error:
        if reraise:
            raise
        hint = "" if isinstance(error, EXPECTED) else " (--debug shows where)"
        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        for line in (f"{kind}{error}{hint}", *getattr(error, "__notes__", ())):
            print_message(line)
        return WRONG_INPUT if isinstance(error, WRONG_INPUTS) else FAILED
