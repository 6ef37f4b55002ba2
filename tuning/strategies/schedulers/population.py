"""Population-based training as a Tune scheduler: generations in step, whatever the number of slots.

A member that reports at the end of a generation is held: it keeps its process and does nothing. Once every living
member is there and its checkpoint is on storage, the generation is settled: survivors train on in their processes as
if nothing had happened, the worst are restarted from a donor. A held member gives its slot up only to a member that
has none and is still behind, so with M members and S slots a generation costs M - S swaps, and none with M <= S; and,
once it has waited for a while, to another study that would use it.

Where each member stands is read off its trial (the epoch of its newest checkpoint), never stored twice. What must
survive a crash is small: `state()`. Tune's snapshots carry it through
`tuning.strategies.searchers.population_searcher`, beside the trials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.epochs import ROUNDING
from trainables.machine import clock
from trainables.spec import Objective
from tuning.outcome import Exploit
from tuning.strategies.schedulers.evolution import Evolution, Member, Takeover
from tuning.strategies.schedulers.held import HeldMembers
from tuning.tune_compat.population import continue_from, has_process, keep_paused, train_on


class Lineage(NamedTuple):
    """One exploit, and the id of the trial that took over."""

    trial_id: str
    exploit: Exploit


class PopulationScheduler(FIFOScheduler):  # type: ignore[misc]
    """Trains a population in generations of `every_epochs` epochs; see `tuning.strategies.Population`.

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

    def __init__(self, evolution: Evolution, objective: Objective, every_epochs: float, size: int) -> None:
        super().__init__()
        self._objective = objective
        self._evolution = evolution
        self._every = every_epochs
        self._size = size
        self._generation = 1  # the one in progress; ends at epoch generation * every
        self._order: list[str] = []  # trial ids; the place is the member's number
        self.lineage: list[Lineage] = []
        self.max_concurrent: int | None = None
        self._clear_runtime()

    def turns(self, slots: int) -> str | None:
        """A line for the user if the members do not fill the slots evenly; None if they do."""
        full, rest = divmod(self._size, slots)
        if not full or not rest:
            return None
        return (
            f"{self._size} members on {slots} slots: a generation takes {full + 1} turns, and {slots - rest} of the "
            f"slots wait in the last one; {full * slots} or {(full + 1) * slots} members would use them all"
        )

    def _clear_runtime(self) -> None:
        self.on_exploit: Callable[[str, Exploit], None] | None = None
        self._trials: dict[str, Trial] = {}
        self._held = HeldMembers()
        self._runner: Any = None
        self._restarts: list[Trial] = []  # still in their process with the old values: to be restarted with the new

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out trials and the listener, which belong to the process: Tune pickles the scheduler at the start."""
        runtime = {"on_exploit", "_trials", "_held", "_runner", "_restarts"}
        return {name: value for name, value in vars(self).items() if name not in runtime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear_runtime()

    def state(self) -> dict[str, Any]:
        """The state with which a later scheduler of the same arguments goes on from here; picklable."""
        return {"generation": self._generation, "order": list(self._order), "lineage": list(self.lineage)}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Call it before Tune adds the trials that were saved with it."""
        self._generation, self._order, self.lineage = state["generation"], state["order"], state["lineage"]

    # What a study calls; see `tuning.strategies.Population`.

    def limit(self, trials: int | None) -> None:
        """Let at most `trials` members train at a time; None: as many as the cluster holds."""
        self.max_concurrent = trials

    def report_exploits_to(self, listener: Callable[[str, Exploit], None]) -> None:
        """Call `listener` with (trial id, exploit) when one is decided."""
        self.on_exploit = listener

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

    def spare_slots(self) -> int:
        """The number of slots that members hold who wait for others, and are worth to be paused for another study."""
        return len(self._spare())

    def give_slot(self) -> bool:
        """Pause one of these members; False if its process has died, and Tune is to hear of that first."""
        return self._held.pause(self._runner, self._spare()[0])

    def pinned(self) -> set[str]:
        """Paths of the checkpoints that a member would be started from now.

        The newest of a member is its donor's from the exploit on to the member's own next one.
        """
        return {trial.checkpoint.path for trial in self._living() if trial.checkpoint}

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
        self._trials[trial.trial_id], self._runner = trial, tune_controller

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called when a member's process is gone; its status shows if Tune queues it again or leaves it failed."""
        self._held.discard(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Lets the member train on, or holds it at the end of the generation; its checkpoint is still to come."""
        if result["epoch"] < self._boundary:
            return str(TrialScheduler.CONTINUE)
        self._held.add(trial, result)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called by Tune before each event: the one place where the population moves.

        Returns:
            A member to give a slot to, one at a time; Tune calls again.

        Raises:
            RuntimeError: a member came to a boundary without a checkpoint.
        """
        self._park(tune_controller)
        if self._generation_ended:
            self._settle(tune_controller, self._living())
        return self._restart(tune_controller) or self._next_for_a_slot(tune_controller)

    # How it moves.

    @property
    def _boundary(self) -> float:
        return self._generation * self._every - ROUNDING

    def _living(self) -> list[Trial]:
        trials = (self._trials[trial_id] for trial_id in self._order if trial_id in self._trials)
        return [trial for trial in trials if not trial.is_finished()]

    @property
    def _generation_ended(self) -> bool:
        living = self._living()
        return bool(living) and self.proposed == self._size and all(self._arrived(trial) for trial in living)

    def _spare(self) -> list[Trial]:
        waiting = self._held.waiting()
        if not waiting or self._generation_ended:
            return []
        return [trial for trial in self._living() if trial.trial_id in waiting and self._arrived(trial)]

    def _arrived(self, trial: Trial) -> bool:
        arrived = _epoch(trial) >= self._boundary
        if not arrived and trial in self._held and not trial.is_saving:
            raise RuntimeError(
                f"trial {trial.trial_id} reported epoch {trial.last_result['epoch']:g}, the end of a PBT generation, "
                "without a checkpoint: a donor has nothing to give. A custom function must pass one with every report: "
                "report(metrics, epoch=..., checkpoint=FOLDER)."
            )
        return arrived

    def _park(self, runner: Any) -> None:
        """Pause members that Tune wants to start after a failure or a resume, but that must wait for the others."""
        living = self._living()
        busy = sum(trial.status == Trial.RUNNING for trial in living)
        for trial in (t for t in living if t.status == Trial.PENDING):
            if self._arrived(trial) or (self.max_concurrent is not None and busy >= self.max_concurrent):
                keep_paused(runner, trial)
            else:
                busy += 1

    def _settle(self, runner: Any, living: list[Trial]) -> None:
        """End the generation: exploit, then let all members go on."""
        members = [self._member(trial) for trial in living]
        takeovers = self._evolution.takeovers(self._generation, members)
        for takeover in takeovers:
            self._exploit(runner, takeover)
        latest = max(_epoch(trial) for trial in living)
        self._generation = int((latest + ROUNDING) / self._every) + 1
        replaced = {takeover.member.trial_id for takeover in takeovers}
        for trial in (t for t in living if t in self._held):
            if trial.trial_id in replaced:
                self._restarts.append(trial)
            else:
                train_on(runner, trial)
        self._held.clear()

    def _member(self, trial: Trial) -> Member:
        score = trial.latest_checkpoint_result.metrics["metrics"][self._objective.metric]
        sign = 1 if self._objective.mode == "max" else -1
        return Member(self._order.index(trial.trial_id), trial.trial_id, sign * score, dict(trial.config))

    def _exploit(self, runner: Any, takeover: Takeover) -> None:
        member, donor, params = takeover
        trial, source = self._trials[member.trial_id], self._trials[donor.trial_id]
        exploit = Exploit(
            epoch=_epoch(source),
            donor=donor.trial_id,
            old=member.params,
            new=params,
            time=clock.time(),
            reports=_reports(trial),
            donor_reports=_reports(source),
        )
        trial.set_config(dict(params))
        continue_from(runner, trial, source)
        self.lineage.append(Lineage(member.trial_id, exploit))
        if self.on_exploit is not None:
            self.on_exploit(member.trial_id, exploit)

    def _restart(self, runner: Any) -> Trial | None:
        """Restart one replaced member in its own process; one at a time, as Tune may cache only one idle process."""
        while self._restarts:
            trial = self._restarts.pop(0)
            if trial.status == Trial.RUNNING:
                runner.pause_trial(trial, should_checkpoint=False)
                return trial
        return None

    def _next_for_a_slot(self, runner: Any) -> Trial | None:
        """The member without a slot that is furthest behind; a held member makes room for it."""
        waiting = [
            trial
            for trial in self._living()
            if trial.status in (Trial.PENDING, Trial.PAUSED)
            and _epoch(trial) < self._boundary
            and not has_process(runner, trial)
        ]
        held = next((t for t in self._living() if t in self._held and self._arrived(t)), None)
        if held is not None and (waiting or self.proposed < self._size):
            self._held.pause(runner, held)
        first = min(waiting, key=_epoch, default=None)  # the first proposed among equals
        return None if first is None or (first.status == Trial.PAUSED and self.full) else first


def _epoch(trial: Trial) -> float:
    """The epoch from which the trial would start: that of its newest checkpoint, or 0."""
    result = trial.latest_checkpoint_result
    return float(result.metrics["epoch"]) if result else 0.0


def _reports(trial: Trial) -> int:
    """The number of reports up to the trial's newest checkpoint; Tune restores the count with it."""
    return int(trial.latest_checkpoint_result.metrics["training_iteration"])
