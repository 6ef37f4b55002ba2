"""The common part of the schedulers of population-based training: members, exploits, and what survives a crash.

When members are compared, and who waits for whom, is decided in `tuning.strategies.schedulers.synchronous` and
`tuning.strategies.schedulers.asynchronous`.

Where each member stands is read off its trial (the epoch of its newest checkpoint), never stored twice. What must
survive a crash is small: `state()`. Tune's snapshots carry it through
`tuning.strategies.searchers.population_searcher`, beside the trials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.epochs import ROUNDING
from trainables.machine import clock
from trainables.spec import Objective
from tuning.outcome import Exploit
from tuning.strategies.schedulers.evolution import Evolution, Stage, Takeover
from tuning.strategies.schedulers.held import HeldMembers
from tuning.tune_compat.population import continue_from


class Lineage(NamedTuple):
    """One exploit, and the id of the trial that took over."""

    trial_id: str
    exploit: Exploit


class Start(NamedTuple):
    """The place of a member when it was last compared, and went on."""

    epoch: float = 0.0
    score: float | None = None  # of the weights with which it went on, higher is better; None before its first report
    replaced: float | None = (
        None  # if these are a donor's: the score of the weights that it had; None: they are its own
    )


class PopulationScheduler(FIFOScheduler, ABC):  # type: ignore[misc]
    """A scheduler of trials that take over from each other; see `tuning.strategies.Population`.

    A failed or finished member leaves the population. So does a member whose scores are not finite. It could take over
    from a donor instead, but that would hide what its values have led to. The quantiles are those of the members that
    are left, so exploits go on, and no donor is ever one that has failed.

    Args:
        evolution: decides who takes over from whom.
        objective: read from reports as `metrics/<metric>`.
        every_epochs: length of a generation, in epochs.
        size: number of members.

    Attributes:
        on_exploit: called with (trial id, exploit) when one is decided. After a crash the same exploit can be decided
            again and is reported again. Not pickled: set it anew after a restore.
        max_concurrent: at most this many members in slots; None: as many as the cluster holds.
        lineage: all exploits, oldest first.
    """

    RUNTIME: ClassVar[frozenset[str]] = frozenset({"on_exploit", "_trials", "_held", "_runner"})

    def __init__(self, evolution: Evolution, objective: Objective, every_epochs: float, size: int) -> None:
        super().__init__()
        self._objective = objective
        self._evolution = evolution
        self._every = every_epochs
        self._size = size
        self._order: list[str] = []  # trial ids; the place is the member's number
        self._starts: dict[str, Start] = {}
        self._history: list[Stage] = []  # what the explorer learns from
        self.lineage: list[Lineage] = []
        self.max_concurrent: int | None = None
        self._clear_runtime()

    def _clear_runtime(self) -> None:
        self.on_exploit: Callable[[str, Exploit], None] | None = None
        self._trials: dict[str, Trial] = {}
        self._held = HeldMembers()
        self._runner: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out trials and the listener, which belong to the process: Tune pickles the scheduler at the start."""
        return {name: value for name, value in vars(self).items() if name not in self.RUNTIME}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear_runtime()

    def state(self) -> dict[str, Any]:
        """The state with which a later scheduler of the same arguments goes on from here; picklable."""
        return {
            "order": list(self._order),
            "starts": dict(self._starts),
            "history": list(self._history),
            "lineage": list(self.lineage),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Call it before Tune adds the trials that were saved with it."""
        self._order, self._starts = state["order"], state["starts"]
        self._history, self.lineage = state["history"], state["lineage"]

    # What a study calls; see `tuning.strategies.Population`.

    def limit(self, trials: int | None) -> None:
        """Let at most `trials` members train at a time; None: as many as the cluster holds."""
        self.max_concurrent = trials

    def report_exploits_to(self, listener: Callable[[str, Exploit], None]) -> None:
        """Call `listener` with (trial id, exploit) when one is decided."""
        self.on_exploit = listener

    def pinned(self) -> set[str]:
        """Paths of the checkpoints that a member would be started from now.

        The newest of a member is its donor's from the exploit on to the member's own next one.
        """
        return {trial.checkpoint.path for trial in self._living() if trial.checkpoint}

    # What the searcher calls.

    @property
    def proposed(self) -> int:
        """The number of members that have become trials so far."""
        return len(self._order)

    @property
    def ended(self) -> bool:
        """True if every member has finished or failed."""
        return len(self._trials) == self._size and not self._living()

    @property
    def full(self) -> bool:
        """True if `max_concurrent` forbids one more member to start."""
        busy = sum(trial.status in (Trial.PENDING, Trial.RUNNING) for trial in self._living())
        return self.max_concurrent is not None and busy >= self.max_concurrent

    # What Tune calls.

    @property
    def metric(self) -> str:
        """The key of a report's score."""
        return f"metrics/{self._objective.metric}"

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """True if Tune names the objective's own metric and mode, or none."""
        return metric in (None, self.metric) and mode in (None, self._objective.mode)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called when a member is proposed, restored with the experiment, or queued again after a failure."""
        if trial.trial_id not in self._order:
            self._order.append(trial.trial_id)
            self._starts[trial.trial_id] = Start()
        self._trials[trial.trial_id], self._runner = trial, tune_controller

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called when a member's process is gone; its status shows if Tune queues it again or leaves it failed."""
        self._held.discard(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Lets the member train on, or holds it at the end of the generation; its checkpoint is still to come."""
        if result["epoch"] < self._boundary(trial):
            return str(TrialScheduler.CONTINUE)
        self._held.add(trial, result)
        return str(TrialScheduler.NOOP)

    @abstractmethod
    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called by Tune before each event: the one place where the population moves.

        Returns:
            A member to give a slot to, one at a time; Tune calls again.

        Raises:
            RuntimeError: a member came to a boundary without a checkpoint.
        """

    # How it moves.

    @abstractmethod
    def _boundary(self, trial: Trial) -> float:
        """The epoch at which the member's generation in progress ends."""

    def _living(self) -> list[Trial]:
        trials = (self._trials[trial_id] for trial_id in self._order if trial_id in self._trials)
        return [trial for trial in trials if not trial.is_finished()]

    def _arrived(self, trial: Trial) -> bool:
        arrived = epoch_of(trial) >= self._boundary(trial)
        if not arrived and trial in self._held and not trial.is_saving:
            raise RuntimeError(
                f"trial {trial.trial_id} reported epoch {trial.last_result['epoch']:g}, the end of a PBT generation, "
                "without a checkpoint: a donor has nothing to give. A custom function must pass one with every report: "
                "report(metrics, epoch=..., checkpoint=FOLDER)."
            )
        return arrived

    def _number(self, trial: Trial) -> int:
        return self._order.index(trial.trial_id)

    def _score(self, trial: Trial) -> float:
        """The score of the member's newest checkpoint; higher is better."""
        score = float(trial.latest_checkpoint_result.metrics["metrics"][self._objective.metric])
        return score if self._objective.mode == "max" else -score

    def _generations(self, epoch: float) -> int:
        """The number of generations behind weights that have been trained up to `epoch`."""
        return int((epoch + ROUNDING) / self._every)

    def _stage(self, trial: Trial) -> Stage:
        """The member's training since it was last compared; it has not ended."""
        start = self._starts[trial.trial_id]
        return Stage(self._generations(start.epoch), start.score, dict(trial.config))

    def _end_stage(self, trial: Trial) -> None:
        """Let the member go on as it is, from its newest checkpoint; note what it has gained."""
        start, epoch, score = self._starts[trial.trial_id], epoch_of(trial), self._score(trial)
        if self._evolution.explorer.learns and epoch > start.epoch:
            gain = (score - (start.score or 0.0)) / (epoch - start.epoch)
            self._history.append(self._stage(trial)._replace(gain=gain))
        self._starts[trial.trial_id] = Start(epoch, score)

    def _exploit(self, runner: Any, takeover: Takeover) -> None:
        member, donor, params = takeover
        trial, source = self._trials[member.trial_id], self._trials[donor.trial_id]
        exploit = Exploit(
            epoch=epoch_of(source),
            donor=donor.trial_id,
            old=member.params,
            new=params,
            time=clock.time(),
            reports=_reports(trial),
            donor_reports=_reports(source),
        )
        trial.set_config(dict(params))
        continue_from(runner, trial, source)
        self._starts[member.trial_id] = Start(exploit.epoch, donor.score, replaced=member.score)
        self.lineage.append(Lineage(member.trial_id, exploit))
        if self.on_exploit is not None:
            self.on_exploit(member.trial_id, exploit)


def epoch_of(trial: Trial) -> float:
    """The epoch from which the trial would start: that of its newest checkpoint, or 0."""
    result = trial.latest_checkpoint_result
    return float(result.metrics["epoch"]) if result else 0.0


def _reports(trial: Trial) -> int:
    """The number of reports up to the trial's newest checkpoint; Tune restores the count with it."""
    return int(trial.latest_checkpoint_result.metrics["training_iteration"])
