"""Describes in one line why a trial has failed, and decides whether starting it again could help."""

from __future__ import annotations

import builtins
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ray import cloudpickle
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.result import EXPR_ERROR_FILE

from trainables.machine.devices import DeviceNotReady
from trainables.reporting import NonFiniteScore
from trainables.worker.team import WorkerOutOfMemory
from tuning.tune_compat.out_of_memory import ADVICE, OutOfMemory

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

MEMORY_TWICE = "out of memory, also when started once more"  # it always is, see `retry`
MESSAGE = 500  # characters of an error's message at most
# Errors of a program about itself or about its input: the same code, values and seed raise them again. So does a score
# that is not finite. Not among them: RuntimeError (also of a device or a library that ran out of something), OSError.
REPEATED = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, NotImplementedError),
    *(RecursionError, SyntaxError, TypeError, ValueError, NonFiniteScore),
)
FRAME = re.compile(r'\s+File ".*", line \d+')
RAISED = re.compile(r"[A-Za-z_][\w.]*(: |:?$)")  # at the beginning of a line: the code of a frame is indented


class TrialFailure(NamedTuple):
    """The error of a trial's own code, or of its process."""

    name: str  # of the type
    message: str
    type: type[BaseException] | None  # None: only its name has come through

    @classmethod
    def of(cls, error: BaseException) -> TrialFailure:
        """The failure behind the error that Ray passes on."""
        if isinstance(error, RayTaskError) and error.cause is not None:
            error = error.cause
        if isinstance(error, RayActorError) and error.actor_init_failed:
            dotted, message = parse_traceback(str(error))
            return cls(dotted.rpartition(".")[2], message, _type_named(dotted))
        return cls(type(error).__name__, error.reason if isinstance(error, OutOfMemory) else str(error), type(error))

    @property
    def repeated(self) -> bool:
        """True if the trial would raise it again, so that starting it again is in vain.

        An OSError is not, even if it is a ValueError as well, as those of network libraries are.
        """
        return self.type is not None and issubclass(self.type, REPEATED) and not issubclass(self.type, OSError)

    @property
    def out_of_memory(self) -> bool:
        """True if the machine's memory was short: a neighbour's need may have been the reason, or the trial's own."""
        if self.type is not None and issubclass(self.type, OutOfMemory | WorkerOutOfMemory | MemoryError):
            return True
        return "DefaultCPUAllocator: can't allocate memory" in self.message  # torch's RuntimeError on a CPU

    @property
    def device_not_ready(self) -> bool:
        """True if the MPS server of the trial's GPU accepted no process: a later one may be accepted."""
        return self.type is not None and issubclass(self.type, DeviceNotReady)

    @property
    def line(self) -> str:
        """Type and message, on one line."""
        message = " ".join(self.message.split())
        shown = message if len(message) <= MESSAGE else f"{message[: MESSAGE - 3]}..."
        if self.out_of_memory:
            shown += f"; {MEMORY_TWICE}: {ADVICE}"
        return f"{self.name}: {shown}"


def describe_failure(trial: Trial) -> str:
    """One line with a trial's error and the place of its traceback."""
    return f"{_raised(trial).line} (traceback: {trial.storage.trial_fs_path}/{EXPR_ERROR_FILE})"


def _raised(trial: Trial) -> TrialFailure:
    """Read in Tune's staging folder: it reaches the storage path only after the callbacks."""
    if trial.pickled_error_file is None:  # Tune's own reasons, such as a checkpoint that cannot be stored
        reason = Path(trial.error_file).read_text() if trial.error_file else "no reason was given"
        return TrialFailure("TuneError", reason, None)
    return TrialFailure.of(cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()))


def parse_traceback(traceback: str) -> tuple[str, str]:
    """The dotted type and the whole message of the error that a traceback ends in.

    Below its last frame (`  File ...` and what is indented there) stands `type: message`; of a message of several
    lines the last one seldom says what is wrong.
    """
    lines = traceback.strip().splitlines()
    frame = max((at for at, line in enumerate(lines) if FRAME.match(line)), default=-1)
    below = [at for at in range(frame + 1, len(lines)) if RAISED.match(lines[at])]
    start = below[0] if below else len(lines) - 1
    dotted, _, message = "\n".join(lines[start:]).partition(":")
    return dotted.strip(), message.strip()


def _type_named(dotted: str) -> type[BaseException] | None:
    """The exception of that name, if this process has imported its module; it has that of the trainable."""
    module, _, name = dotted.rpartition(".")
    found = getattr(sys.modules.get(module) if module else builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def without_details(line: str) -> str:
    """A line of `describe_failure` without what differs between equal failures: numbers, ids, the traceback's place."""
    return re.sub(r"[\w.+-]*\d[\w.+-]*", "#", line.rpartition(" (traceback: ")[0] or line)
