"""The figures of live progress: events of trials go in, rows and figures come out. No Ray, no drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from trainables.spec import Objective, Params, Value
from trainables.user_trainer.hp_space import suggested_values
from tuning.outcome import TrialState

SHORT_NAMES = {
    "learning_rate": "lr",
    "per_device_train_batch_size": "bs",
    "weight_decay": "wd",
    "num_train_epochs": "epochs",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "gradient_accumulation_steps": "acc",
}
SAME_EPOCH = 1e-9  # positions are sums of fractions of an epoch


class Row(NamedTuple):
    """One trial as the table shows it."""

    number: int
    state: TrialState
    epoch: float
    horizon: float
    last: float | None
    best: float | None
    params: str


@dataclass
class _Trial:
    horizon: float
    epoch: float
    params: Params
    state: TrialState = TrialState.RUNNING
    last: float | None = None
    best: float | None = None
    touched: int = 0  # number of its newest event


@dataclass
class ProgressState:
    """The progress of one study.

    Work is counted in epochs. A trial that has a horizon of its own (`num_train_epochs`) or that ends early gives the
    rest back, so the total falls while a study runs.

    Args:
        trials: the number that the strategy plans; None: until the budget is spent.
        epochs: the most epochs of one trial.
        objective: what `best` means.
        started: seconds on any steady clock, the same as `now` in the methods below.
        spent_before, spent: the share of the study's budget that is spent, at `started` and now; None: it has none.
    """

    trials: int | None
    epochs: float
    objective: Objective
    started: float
    spent_before: float | None = None
    spent: float | None = None
    _trials: dict[int, _Trial] = field(default_factory=dict)
    _events: int = 0
    _work: float = 0.0  # epochs trained since `started`; after a resume less than `epochs_done`
    _seconds: float = 0.0  # of which is known how many slots were in use
    _used_seconds: float = 0.0
    _slot_seconds: float = 0.0

    @property
    def begun(self) -> bool:
        """True if any trial has begun."""
        return bool(self._trials)

    def knows(self, number: int) -> bool:
        """True if trial `number` has begun."""
        return number in self._trials

    def start(self, number: int, params: Params, epoch: float = 0.0, best: float | None = None) -> None:
        """Note that trial `number` begins, or goes on (a PBT member after a pause, a resumed trial).

        Args:
            epoch: from which it goes on.
            best: of its scores until then; None: none was reported.
        """
        horizon = params.get("num_train_epochs")
        known = self._trials.setdefault(number, _Trial(self.epochs, epoch, params))
        known.horizon = self.epochs if horizon is None else min(float(horizon), self.epochs)
        known.params, known.epoch, known.state = params, epoch, TrialState.RUNNING
        if known.best is None:
            known.best = best
        self._touch(known)

    def report(self, number: int, epoch: float, score: float, params: Params) -> None:
        """Note an evaluation of trial `number`. An exploit may have moved it to its donor's epoch.

        Of the values in force only those that it was started with are kept: the others are the same for all trials.
        """
        trial = self._trials[number]
        self._work += max(0.0, epoch - trial.epoch)
        trial.epoch, trial.last = epoch, score
        in_force = suggested_values(params)
        trial.params = {name: in_force.get(name, proposed) for name, proposed in trial.params.items()}
        if trial.best is None or self._better(score, trial.best):
            trial.best = score
        self._touch(trial)

    def end(self, number: int, *, failed: bool = False) -> None:
        """Note that trial `number` has ended; it counts as stopped if epochs were left."""
        trial = self._trials[number]
        complete = trial.epoch >= trial.horizon - SAME_EPOCH
        trial.state = TrialState.FAILED if failed else TrialState.COMPLETED if complete else TrialState.STOPPED
        self._touch(trial)

    def use(self, running: int, slots: int, seconds: float) -> None:
        """Note that `running` trials have run in `slots` slots for `seconds`."""
        self._seconds += seconds
        self._used_seconds += running * seconds
        self._slot_seconds += slots * seconds

    @property
    def used(self) -> float:
        """The number of slots in use, on average over the time."""
        return self._used_seconds / self._seconds if self._seconds else 0.0

    @property
    def slots(self) -> float:
        """The number of slots that were there, on average; 0 before anything is known."""
        return self._slot_seconds / self._seconds if self._seconds else 0.0

    def _touch(self, trial: _Trial) -> None:
        self._events += 1
        trial.touched = self._events

    def _better(self, a: float, b: float) -> bool:
        return a > b if self.objective.mode == "max" else a < b

    @property
    def best(self) -> float | None:
        """The best score so far."""
        scores = [trial.best for trial in self._trials.values() if trial.best is not None]
        return (max if self.objective.mode == "max" else min)(scores, default=None)

    @property
    def epochs_done(self) -> float:
        """The sum of the epochs at which all trials stand."""
        return sum(trial.epoch for trial in self._trials.values())

    @property
    def epochs_total(self) -> float:
        """The value of `epochs_done` at the end of the study, as far as is known now, if no budget ends it before."""
        over = sum(t.epoch if t.state is not TrialState.RUNNING else t.horizon for t in self._trials.values())
        return over + max(0, (self.trials or 0) - len(self._trials)) * self.epochs

    @property
    def share(self) -> float:
        """The share that is done, from 0 to 1: of the epochs or of the budget, whichever is nearer to its end."""
        if self.trials is None:
            return self.spent or 0.0
        planned = min(1.0, self.epochs_done / self.epochs_total) if self.epochs_total else 1.0
        return max(planned, self.spent or 0.0)

    def seconds_left(self, now: float) -> float | None:
        """Estimate the seconds left at the pace since the start; None before the first report."""
        if not self._work:
            return None
        left = []
        if self.trials is not None:
            left.append(max(0.0, self.epochs_total - self.epochs_done) / self._work)
        if self.spent is not None and self.spent > (self.spent_before or 0.0):
            left.append((1.0 - self.spent) / (self.spent - (self.spent_before or 0.0)))
        return (now - self.started) * min(left) if left else None

    def counts(self) -> Mapping[TrialState, int]:
        """Count the trials in each state; states without a trial are left out."""
        states = [trial.state for trial in self._trials.values()]
        return {state: states.count(state) for state in TrialState if state in states}

    def rows(self, limit: int) -> list[Row]:
        """Return at most `limit` trials, best score first, trials without a score last.

        Running trials are chosen before all others, then the best half, then those with the newest events.
        """
        ranked = sorted(self._trials, key=self._rank)
        running = [n for n in ranked if self._trials[n].state is TrialState.RUNNING]
        newest = sorted(self._trials, key=lambda n: -self._trials[n].touched)
        chosen = list(dict.fromkeys([*running, *ranked[: limit // 2], *newest]))[:limit]
        return [self.row(number) for number in ranked if number in chosen]

    def row(self, number: int) -> Row:
        """Return the row of trial `number`."""
        t = self._trials[number]
        return Row(number, t.state, t.epoch, t.horizon, t.last, t.best, short_params(t.params))

    def _rank(self, number: int) -> tuple[float, int]:
        best = self._trials[number].best
        sign = -1 if self.objective.mode == "max" else 1
        return (float("inf") if best is None else sign * best, number)


def short_params(params: Params) -> str:
    """Format params with short names and four digits: 'lr=5e-05 bs=16 hidden_dropout_prob=0.1'."""
    return " ".join(f"{SHORT_NAMES.get(name, name.split('.')[-1])}={_short(value)}" for name, value in params.items())


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Format seconds as '40 s', '12 min', '3 h 5 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
