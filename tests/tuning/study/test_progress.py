"""Live progress as it is drawn: its lines and its table, through the calls that Tune makes."""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from trainables.reporting import Report
from trainables.spec import Objective
from tuning.study.progress import Progress, Screen
from tuning.study.progress_state import ProgressState
from tuning.study.progress_table import render

pytestmark = pytest.mark.unit

ACCURACY = Objective(metric="accuracy", mode="max")
ACCURACY_MIN = Objective(metric="accuracy", mode="min")
LOSS = Objective(metric="loss", mode="min")


def state(trials: int = 2, epochs: float = 4, objective: Objective = ACCURACY) -> ProgressState:
    return ProgressState(trials, epochs, objective, started=100.0)


@dataclass
class Trial:
    """The part of Tune's trial that a callback reads."""

    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)
    status: str = "PENDING"
    error_file: str | None = None
    trial_id: str = "a8e2fb5c"
    metric_analysis: dict[str, dict[str, float]] = field(default_factory=dict)

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")


def result(epoch: float, accuracy: float, rate: float = 5e-5) -> dict[str, Any]:
    return Report(epoch, {"accuracy": accuracy}, {"learning_rate": rate}, 1.0, 0.0).to_result()


def drawn(console: Screen) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_two_trials(progress: Progress) -> None:
    """Makes Tune's calls for a trial that completes and one that is stopped."""
    first, second = Trial({"learning_rate": 5e-5}), Trial({"learning_rate": 1e-4})
    trials = [first, second]
    progress.setup()
    for step, trial in enumerate(trials):
        progress.on_trial_start(step, trials, trial)
    for epoch in (1, 2):
        progress.on_trial_result(2, trials, first, result(epoch, 0.7 + epoch / 100))
    progress.on_trial_complete(3, trials, first)
    progress.on_trial_result(4, trials, second, result(1, 0.6, 1e-4))
    progress.on_trial_complete(5, trials, second)
    progress.on_experiment_end(trials)


def test_without_a_terminal_the_first_start_and_each_report_is_one_plain_line() -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    run_two_trials(Progress("grid", 0, 2, 2, ACCURACY, console))
    started, *lines = drawn(console).splitlines()
    assert started == "grid-seed0  trial 0 (a8e2fb5c)  starts  lr=5e-05"
    assert len(lines) == 4
    assert lines[1].startswith(
        "grid-seed0  trial 0 (a8e2fb5c)  epoch 2/2  accuracy 0.7200  lr=5e-05  best 0.7200  [2/4 "
    )
    assert lines[1].endswith(" left]")
    assert lines[2].startswith(
        "grid-seed0  trial 1 (a8e2fb5c)  epoch 1/2  accuracy 0.6000  lr=0.0001  best 0.7200  [3/4 "
    )
    assert lines[3] == "grid-seed0  trial 1 (a8e2fb5c)  stopped at epoch 1/2"


def test_a_trial_that_ends_by_itself_and_has_said_nothing_is_not_reported_as_stopped() -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    progress, trial = Progress("grid", 0, 1, 2, ACCURACY, console), Trial({"learning_rate": 1.0})
    progress.setup()
    progress.on_trial_start(0, [trial], trial)
    progress.on_trial_complete(1, [trial], trial)
    assert drawn(console).splitlines()[1:] == ["grid-seed0  trial 0 (a8e2fb5c)  ended without a report"]


def test_values_in_force_are_shown_not_those_of_the_start() -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    progress, trial = Progress("pbt", 0, 1, 2, ACCURACY, console), Trial({"learning_rate": 1.0})
    progress.setup()
    progress.on_trial_start(0, [trial], trial)
    progress.on_trial_result(1, [trial], trial, result(1, 0.5, rate=0.25))
    assert "lr=0.25 " in drawn(console)


def test_on_a_terminal_the_last_picture_is_the_table_with_the_bar() -> None:
    console = Screen(file=io.StringIO(), force_terminal=True, width=120, height=30, color_system=None)
    run_two_trials(Progress("grid", 3, 2, 2, ACCURACY, console))
    output = drawn(console)
    assert "grid, seed 3" in output
    last = output[output.rindex("grid, seed 3") :]
    assert "0.7200" in last
    assert "1 completed, 1 stopped of 2 trials; best 0.7200" in last
    assert "3/3 epochs, took 0 s" in last


def test_only_the_parameters_give_way_on_a_narrow_terminal() -> None:
    study = state(trials=1)
    study.start(0, {f"model.a_long_name_{i}": 0.123456 for i in range(9)})
    study.report(0, 4.0, 0.12345, {})
    study.end(0)
    console = Screen(file=io.StringIO(), width=70, color_system=None)
    console.print(render(study, "grid, seed 0", ""))
    (row,) = [line for line in drawn(console).splitlines() if "…" in line]
    assert row.split()[:5] == ["0", "completed", "4/4", "0.1235", "0.1235"]


def test_the_picture_keeps_its_shape_and_fits_80_columns_from_the_first_report_to_the_last() -> None:
    study = state(trials=3, epochs=10)
    shapes = []
    study.start(0, {"learning_rate": 5e-5})
    for epoch, position in ((1.0, "1/30 epochs"), (10.0, "10/30 epochs, 23 h 12 min left")):
        study.report(0, epoch, 0.5 + epoch / 100, {"learning_rate": 5e-5})
        console = Screen(file=io.StringIO(), width=80, color_system=None)
        console.print(render(study, "hyperopt_asha, seed 0", position))
        lines = drawn(console).splitlines()
        shapes.append((len(lines), next(line.index("parameters") for line in lines if "parameters" in line)))
        assert any(line.rstrip().endswith(position) for line in lines)
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("height", "rows"), [(5, 4), (24, 16), (40, 30)])
def test_the_table_fits_the_height_of_the_terminal(height: int, rows: int) -> None:
    console = Screen(file=io.StringIO(), force_terminal=True, width=80, height=height, color_system=None)
    trials = [Trial({"learning_rate": float(number)}) for number in range(50)]
    progress = Progress("grid", 0, 50, 2, ACCURACY, console)
    progress.setup()
    for trial in trials:
        progress.on_trial_start(0, trials, trial)
    assert "first trials are starting" in drawn(console)
    progress.on_experiment_end(trials)
    assert drawn(console).rpartition("parameters")[2].count("running  ") == rows


@pytest.mark.parametrize(
    ("score", "text"), [(None, "-"), (0.0, "0.0000"), (0.5, "0.5000"), (-0.25, "-0.2500"), (2e-5, "2.000e-05")]
)
def test_scores_have_four_decimals_where_those_say_something(score: float | None, text: str) -> None:
    study = state()
    study.start(0, {})
    if score is not None:
        study.report(0, 1.0, score, {})
    console = Screen(file=io.StringIO(), width=80, color_system=None)
    console.print(render(study, "grid, seed 0", ""))
    assert drawn(console).rstrip().endswith(f"best {text}")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_goes_away_is_said_once_and_ends_nothing(
    terminal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    before = sys.stdout
    run_two_trials(Progress("grid", 0, 2, 2, ACCURACY, Screen(file=Gone(), force_terminal=terminal)))
    assert [record.message for record in caplog.records] == [
        "Live progress of grid stops: nobody reads. The run goes on."
    ]
    assert sys.stdout is before


def test_trials_that_an_earlier_run_finished_count_as_done() -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    done = Trial({}, result(2, 0.9), "TERMINATED")
    failed, next_ = Trial({}, {}, "ERROR"), Trial({})
    trials = [done, failed, next_]
    progress = Progress("grid", 0, 3, 2, ACCURACY, console)
    progress.setup()
    progress.on_trial_start(0, trials, next_)
    progress.on_trial_result(1, trials, next_, result(1, 0.5))
    assert "trial 2 (a8e2fb5c)  epoch 1/2  accuracy 0.5000" in drawn(console)
    assert "best 0.9000  [3/4 epochs, " in drawn(console)
    assert drawn(console).startswith("grid-seed0  goes on after 1 completed, 1 failed\n")


@pytest.mark.parametrize(("objective", "best"), [(ACCURACY, 0.95), (ACCURACY_MIN, 0.4)])
def test_what_an_earlier_run_reported_of_a_trial_that_goes_on_counts_for_the_best(
    objective: Objective, best: float
) -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    analysis = {"metrics/accuracy": {"max": 0.95, "min": 0.4, "last": 0.6}}
    trial = Trial({}, result(1, 0.6), metric_analysis=analysis)
    progress = Progress("grid", 0, 1, 2, objective, console)
    progress.setup()
    progress.on_trial_start(0, [trial], trial)
    progress.on_trial_result(1, [trial], trial, result(2, 0.5))
    assert f"best {best:.4f}" in drawn(console)


def test_a_trial_that_fails_before_it_ever_starts_is_reported() -> None:
    console = Screen(file=io.StringIO(), force_terminal=False)
    trials = [Trial({"learning_rate": 5e-5}), Trial({"learning_rate": 1e-4})]
    progress = Progress("grid", 0, 2, 2, ACCURACY, console)
    progress.setup()
    for trial in trials:
        trial.status = "ERROR"  # Tune sets it first
        progress.on_trial_error(0, trials, trial)
    assert drawn(console).splitlines() == [f"grid-seed0  trial {n} (a8e2fb5c)  failed at epoch 0/2" for n in (0, 1)]


def test_a_bug_is_not_taken_for_a_drawing_problem() -> None:
    progress, trial = Progress("grid", 0, 1, 2, LOSS, Screen(file=io.StringIO())), Trial({})
    progress.setup()
    progress.on_trial_start(0, [trial], trial)
    with pytest.raises(KeyError, match="loss"):
        progress.on_trial_result(1, [trial], trial, result(1, 0.5))


@pytest.mark.parametrize("terminal", [True, False])
def test_it_can_be_pickled_in_the_middle_of_a_run_and_starts_afresh(terminal: bool) -> None:
    progress = Progress("grid", 0, 2, 2, ACCURACY, Screen(file=io.StringIO(), force_terminal=terminal))
    trial = Trial({})
    progress.setup()
    progress.on_trial_start(0, [trial], trial)
    progress.on_trial_result(1, [trial], trial, result(1, 0.5))
    copy = pickle.loads(pickle.dumps(progress))
    progress.close()
    run_two_trials(copy)


def test_close_gives_the_terminal_back_and_may_be_called_twice() -> None:
    console = Screen(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    progress = Progress("grid", 0, 2, 2, ACCURACY, console)
    progress.setup()
    progress.close()
    progress.close()
    assert "\x1b[?25h" in drawn(console)  # the cursor is shown again
