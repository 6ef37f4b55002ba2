"""Which failures are retried, and which first failures stop a study, by their messages."""

from __future__ import annotations

import pytest
from ray.exceptions import RayActorError

from trainables.reporting import NonFiniteScore
from trainables.worker.team import WorkerDied, WorkerOutOfMemory
from tuning.outcome import TrialState
from tuning.supervision.failure_policy import repeated_failure
from tuning.supervision.failures import TrialFailure, parse_traceback, without_details
from tuning.tune_compat.out_of_memory import OutOfMemory

pytestmark = pytest.mark.unit


def failed(error: str, reports: int = 0) -> tuple[TrialState, int, str]:
    return TrialState.FAILED, reports, f"{error} (traceback: /runs/x/{id(error)}/error.txt)"


ALIKE = [failed(f"ValueError: trial a{n}c of process {100 + n}: shape ({n}, 4)") for n in range(3)]


def test_failures_are_alike_whatever_numbers_and_ids_they_name() -> None:
    messages = repeated_failure(ALIKE, 3)
    assert messages == f"the first 3 trials failed alike: {ALIKE[0][2]}"
    assert without_details("OSError: /tmp/x1/a is full (traceback: /b)") == "OSError: /tmp/#/a is full"


@pytest.mark.parametrize(
    "trials",
    [
        ALIKE[:2],
        [*ALIKE[:2], failed("KeyError: 'lr'")],
        [*ALIKE[:2], failed("ValueError: another")],
        [*ALIKE, (TrialState.COMPLETED, 2, None)],
        [*ALIKE, (TrialState.STOPPED, 1, None)],
        [*ALIKE, (TrialState.RUNNING, 1, None)],
        [failed("NonFiniteScore: accuracy is nan at epoch 1")] * 3,
        [failed("OutOfMemory: the kernel; out of memory, also when started once more: x")] * 3,
        [failed("DeviceMemoryError: CUDA out of memory")] * 3,
    ],
    ids=[
        "two",
        "type",
        "message",
        "one is complete",
        "one was stopped",
        "one has reported",
        "diverged",
        "memory",
        "device memory",
    ],
)
def test_the_study_goes_on(trials: list[tuple[TrialState, int, str | None]]) -> None:
    assert repeated_failure(trials, 3) is None


def test_it_stops_though_others_run_and_have_said_nothing_and_though_those_that_failed_had_reported() -> None:
    assert repeated_failure([*ALIKE, (TrialState.RUNNING, 0, None)], 3) is not None
    assert repeated_failure([failed("TypeError: save()", reports=1)] * 3, 3) is not None


class OfTheNetwork(OSError, ValueError):
    """An error like JSONDecodeError of the library requests."""


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        *((error("x"), True) for error in (ValueError, KeyError, ImportError, AssertionError, NonFiniteScore)),
        *((error("x"), False) for error in (RuntimeError, OSError, OfTheNetwork)),
    ],
)
def test_what_a_program_says_of_itself_is_repeated_and_what_the_world_does_to_it_is_not(
    error: Exception, repeated: bool
) -> None:
    assert TrialFailure.of(error).repeated is repeated


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (OutOfMemory("00ff", "the kernel killed its process", "all that Ray says"), True),
        (WorkerOutOfMemory("worker 1 of this trial's 2 died"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            True,
        ),
        (WorkerDied("worker 1 of this trial's 2 died"), False),
        (RuntimeError("CUDA error: unspecified launch failure"), False),
        (RayActorError("00ff", "The actor died unexpectedly"), False),
    ],
)
def test_a_machine_short_of_memory_is_known_by_the_error(error: Exception, short: bool) -> None:
    raised = TrialFailure.of(error)
    assert raised.out_of_memory is short
    assert ("take smaller batches" in raised.line) is short


SEVERAL = """The actor died because of an error raised in its creation task, ray::Slot.__init__() (pid=1, ip=1.2.3.4)
  File "/site-packages/ray/tune/trainable.py", line 161, in __init__
    self.setup(copy.deepcopy(self.config))
  File "/site-packages/transformers/utils/versions.py", line 44, in _compare_versions
    raise ImportError(
ImportError: tokenizers>=0.22.0,<=0.23.0 is required for a normal functioning, but found tokenizers==0.15.0.
Try: `pip install transformers -U` or `pip install -e '.[dev]'` if you're working with git main"""


@pytest.mark.parametrize(
    ("traceback", "dotted", "begins", "ends"),
    [
        (SEVERAL, "ImportError", "tokenizers>=0.22.0", "git main"),
        (
            'x\n  File "a.py", line 3, in f\n    g()\ntrainables.errors.InputError: data.x: 3: bad',
            "trainables.errors.InputError",
            "data.x",
            "bad",
        ),
        ('x\n  File "a.py", line 3, in f\n    g()\n    ^^^\nAssertionError', "AssertionError", "", ""),
        (
            "x\n  File \"a.py\", line 3\n    a = (\n        ^\nSyntaxError: '(' was never closed",
            "SyntaxError",
            "'('",
            "closed",
        ),
        ("ValueError: one line", "ValueError", "one", "line"),
        ("no traceback at all", "no traceback at all", "", ""),
    ],
    ids=["several lines", "dotted", "no message", "syntax", "alone", "none"],
)
def test_of_a_traceback_the_error_is_read_with_all_lines_of_its_message(
    traceback: str, dotted: str, begins: str, ends: str
) -> None:
    name, message = parse_traceback(traceback)
    assert name == dotted
    assert message.startswith(begins)
    assert message.endswith(ends)


def test_of_an_error_of_several_lines_the_one_that_says_what_is_wrong_is_shown() -> None:
    raised = TrialFailure.of(RayActorError("00ff", SEVERAL, actor_init_failed=True))
    assert raised.line.startswith("ImportError: tokenizers>=0.22.0,<=0.23.0 is required for a normal functioning,")
    assert "but found tokenizers==0.15.0. Try: `pip install transformers -U`" in raised.line
    assert raised.repeated
