"""Live progress of a study: a table and a bar on a terminal or in a notebook, elsewhere one plain line per report.

In: what Tune reports to callbacks. Out: pictures and lines; all figures come from `ProgressState`. The runner makes a
`Progress` for each study.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from rich.console import Console, RenderableType
from rich.live import Live

from trainables.machine import clock
from trainables.reporting import Report
from trainables.spec import Objective
from tuning.outcome import TrialState, trial_name
from tuning.study.budget_tracker import BudgetTracker
from tuning.study.notebook_display import NotebookDisplay
from tuning.study.progress_state import ProgressState, duration
from tuning.study.progress_table import MOST_ROWS, render, shown_score, slots_used
from tuning.supervision.failures import describe_failure, without_details

LINES_AROUND = 8  # title, heading, rules, bar, counts, and room for a warning
FEWEST_ROWS = 4  # trials in the live table, however low the terminal is
SECONDS_BETWEEN_DRAWINGS = 0.25
SECONDS_BETWEEN_PAGES = 1.0  # in a notebook, where every drawing goes to the browser
SECONDS_BETWEEN_COUNTS = 1.0  # of the trials that run; there may be thousands
logger = logging.getLogger(__name__)


class Screen(Console):
    """A console that raises when nobody reads it any more; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the BrokenPipeError."""
        raise  # noqa: PLE0704 (of the error that is being handled)


class Screens:
    """Decides whose table is on the screen: that of the study that has begun first, among those that run."""

    def __init__(self) -> None:
        self._running: list[Progress] = []

    def enter(self, progress: Progress) -> bool:
        """Called when a study begins; true if it may draw now."""
        self._running.append(progress)
        return self._running[0] is progress

    def leave(self, progress: Progress) -> None:
        """Called when a study ends: the next one may draw."""
        if progress not in self._running:
            return
        first = self._running[0] is progress
        self._running.remove(progress)
        if first and self._running:
            self._running[0].open()


class Progress(Callback):  # type: ignore[misc]
    """Draws the progress of one study.

    Args:
        study: the strategy's label.
        seed: the study's search seed.
        trials: the number that the strategy plans; None: until the budget is spent.
        epochs: the most epochs of one trial.
        objective: what `best` means.
        screen: where to draw; the default is standard output.
        budget: of the study: its slots, and how near it is to its limit; None: one slot, and no limit.
        shown_failures: failures that were shown, with the trial that had each; shared by the studies of a run.
        screens: of the run; its studies may run at the same time.
    """

    def __init__(
        self,
        study: str,
        seed: int,
        trials: int | None,
        epochs: float,
        objective: Objective,
        screen: Screen | None = None,
        budget: BudgetTracker | None = None,
        shown_failures: dict[str, str] | None = None,
        screens: Screens | None = None,
    ) -> None:
        self._budget = budget or BudgetTracker()
        self._shown_failures = {} if shown_failures is None else shown_failures
        self.study, self.seed, self.objective = study, seed, objective
        self._console = screen
        self._screens = screens or Screens()
        self._live: Live | NotebookDisplay | None = None
        self._numbers: dict[int, int] = {}  # of Tune's trials, by identity
        self._drawing = True
        self._drawn = 0.0
        self._counted = clock.monotonic()
        self._trials, self._epochs = trials, epochs
        self._state = self._fresh_state()

    def _fresh_state(self) -> ProgressState:
        spent = self._budget.share
        return ProgressState(self._trials, self._epochs, self.objective, started=clock.monotonic(), spent_before=spent)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the terminal out: Tune pickles its callbacks to disk."""
        return {**self.__dict__, "_console": None, "_live": None, "_screens": Screens(), "_numbers": {}}

    def setup(self, **info: Any) -> None:
        """Open the table; called by Tune once, before the first trial of a run."""
        self._state = self._fresh_state()
        if self._console is None:
            self._console = Screen()
        if (self._console.is_terminal or self._console.is_jupyter) and self._screens.enter(self):
            self.open()

    def open(self) -> None:
        """Show the table; called when it is this study's turn."""
        self._draw(self._open)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show a trial that begins, or goes on after a pause or a resume."""
        first = not self._state.begun
        if first:
            self._state = self._fresh_state()  # the clock of the time left: a first worker takes longer than an epoch
            self._take_over(trials, but=trial)
        number = self._number(trials, trial)
        self._start(number, trial)
        if first and not trial.is_finished():
            params = self._state.row(number).params
            self._print(f"{self._name}  trial {_named(number, trial)}  starts  {params}".rstrip())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show one report."""
        number = self._number(trials, trial)
        self._report(number, result)
        self._print(self._line(number, trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show a trial that is complete, or was stopped by the strategy."""
        self._ended(trials, trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show a trial that has failed for good, maybe before it ever started."""
        self._ended(trials, trial, failed=True)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Draw anew now and then: Tune calls this many times a second; the time left changes between reports."""
        self._count(trials)
        rest = SECONDS_BETWEEN_PAGES if isinstance(self._live, NotebookDisplay) else SECONDS_BETWEEN_DRAWINGS
        if self._live is not None and clock.monotonic() - self._drawn > rest:
            self._drawn = clock.monotonic()
            self._draw(self._live.refresh)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Leave the last table on the screen."""
        self.close()
        if self._state.slots:
            self._print(f"{self._name}  {slots_used(self._state)}")
        if self._budget.reached and (limit := self._budget.limit):
            self._print(f"{self._name}  ended at its budget of {limit.describe()}")

    def close(self) -> None:
        """Give the terminal back; does nothing if nothing is drawn. The runner calls it when a study is interrupted."""
        live, self._live = self._live, None
        if live is not None:
            self._draw(live.stop)
        self._screens.leave(self)

    def _number(self, trials: list[Any], trial: Any) -> int:
        """Return the trial's place in Tune's list, which it keeps."""
        for number in range(len(self._numbers), len(trials)):
            self._numbers[id(trials[number])] = number
        return self._numbers[id(trial)]

    def _count(self, trials: list[Any]) -> None:
        now = clock.monotonic()
        if now - self._counted >= SECONDS_BETWEEN_COUNTS:
            running = sum(trial.status == "RUNNING" for trial in trials)
            self._state.use(running, self._budget.slots, now - self._counted)
            self._counted = now

    def _take_over(self, trials: list[Any], *, but: Any) -> None:
        """Show the trials that an earlier run has finished: they are in Tune's list and never start again."""
        for number, trial in enumerate(trials):
            if trial is not but and trial.is_finished():
                self._start(number, trial)
                if trial.last_result and "metrics" in trial.last_result:
                    self._report(number, trial.last_result)
                self._state.end(number, failed=trial.status == "ERROR")
        if self._state.begun:
            counts = ", ".join(f"{count} {name}" for name, count in self._state.counts().items())
            self._print(f"{self._name}  goes on after {counts}")

    def _start(self, number: int, trial: Any) -> None:
        scores = trial.metric_analysis.get(f"metrics/{self.objective.metric}", {})
        self._state.start(number, dict(trial.config), _epoch(trial), scores.get(self.objective.mode))

    def _report(self, number: int, result: dict[str, Any]) -> None:
        report = Report.from_result(result)
        self._state.report(number, report.epoch, report.metrics[self.objective.metric], report.params)

    def _ended(self, trials: list[Any], trial: Any, *, failed: bool = False) -> None:
        number = self._number(trials, trial)
        if not self._state.knows(number):
            self.on_trial_start(0, trials, trial)
        self._state.end(number, failed=failed)
        row = self._state.row(number)
        if row.state is not TrialState.COMPLETED:
            why = f": {self._cause(number, trial)}" if failed and trial.error_file else ""
            ended = f"{row.state} at epoch {row.epoch:g}/{row.horizon:g}{why}"
            if not failed and row.epoch == 0:
                ended = "ended without a report"
            self._print(f"{self._name}  trial {_named(number, trial)}  {ended}")

    def _cause(self, number: int, trial: Any) -> str:
        """Return why a trial failed; if that was shown before, the first trial that failed so."""
        line = describe_failure(trial)
        first = self._shown_failures.setdefault(
            without_details(line), own := f"trial {_named(number, trial)} of {self.study}, seed {self.seed}"
        )
        return line if first == own else f"as {first}"

    def _draw(self, action: Callable[[], None]) -> None:
        """Draw; if the terminal is gone, warn once and stop drawing: the trials go on."""
        if not self._drawing:
            return
        try:
            action()
        except (OSError, UnicodeEncodeError) as error:
            self._drawing, live, self._live = False, self._live, None
            with contextlib.suppress(OSError, UnicodeEncodeError):
                if live is not None:
                    live.stop()  # gives standard output back, which it has redirected
            logger.warning("Live progress of %s stops: %s. The run goes on.", self.study, error)

    def _open(self) -> None:
        # Drawn only from Tune's own thread (`on_step_end`): no lock, and no error that nobody would see.
        assert self._console is not None
        if self._console.is_jupyter:
            self._live = NotebookDisplay(self._screen)
        else:
            self._live = Live(get_renderable=self._screen, console=self._console, auto_refresh=False)
        self._live.start(refresh=True)

    def _print(self, line: str) -> None:
        """Print a plain line, for logs; on a terminal or in a notebook the table is there instead."""
        if self._console is not None and not (self._console.is_terminal or self._console.is_jupyter):
            file = self._console.file
            self._draw(lambda: print(line, file=file, flush=True))

    def _line(self, number: int, trial: Any) -> str:
        row, best = self._state.row(number), shown_score(self._state.best)
        return (
            f"{self._name}  trial {_named(number, trial)}  epoch {row.epoch:g}/{row.horizon:g}  "
            f"{self.objective.metric} {shown_score(row.last)}  {row.params}  best {best}  [{self._position()}]"
        )

    @property
    def _name(self) -> str:
        """The name of the study's folder."""
        return f"{self.study}-seed{self.seed}"

    def _position(self) -> str:
        state, now = self._state, clock.monotonic()
        state.spent = self._budget.share
        left = state.seconds_left(now)
        ending = "" if left is None else f", {duration(left)} left"
        if state.begun and state.share == 1.0:
            ending = f", took {duration(now - state.started)}"
        planned = "" if state.trials is None else f"/{state.epochs_total:g}"
        limit = self._budget.limit
        spent = "" if limit is None or state.spent is None else f", {state.spent:.0%} of {limit.describe()}"
        return f"{state.epochs_done:g}{planned} epochs{spent}{ending}"

    def _screen(self) -> RenderableType:
        assert self._console is not None
        rows = max(FEWEST_ROWS, min(MOST_ROWS, self._console.height - LINES_AROUND))
        return render(self._state, f"{self.study}, seed {self.seed}", self._position(), rows)


def _named(number: int, trial: Any) -> str:
    """Return the name of a Tune trial in lines of text; the live table has room for its number alone."""
    return trial_name(number, trial.trial_id)


def _epoch(trial: Any) -> float:
    """Return the epoch of a Tune trial's last report."""
    return float((trial.last_result or {}).get("epoch", 0.0))
