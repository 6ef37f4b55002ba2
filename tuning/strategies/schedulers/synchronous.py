"""Population-based training in generations: members wait for each other, whatever the number of slots.

A member that reports at the end of a generation is held: it keeps its process and does nothing. Once every living
member is there and its checkpoint is on storage, the generation is settled: survivors train on in their processes as
if nothing had happened, the worst are restarted from a donor. A held member gives its slot up only to a member that
has none and is still behind, so with M members and S slots a generation costs M - S swaps, and none with M <= S; and,
once it has waited for a while, to another study that would use it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ray.tune.experiment import Trial

from trainables.epochs import ROUNDING
from trainables.spec import Objective
from tuning.strategies.schedulers.evolution import Evolution, Member
from tuning.strategies.schedulers.population import PopulationScheduler, epoch_of
from tuning.tune_compat.population import has_process, keep_paused, train_on


class SynchronousPopulation(PopulationScheduler):
    """Trains a population in generations of `every_epochs` epochs; the arguments are those of `PopulationScheduler`."""

    RUNTIME: ClassVar[frozenset[str]] = PopulationScheduler.RUNTIME | {"_restarts"}

    def __init__(self, evolution: Evolution, objective: Objective, every_epochs: float, size: int) -> None:
        super().__init__(evolution, objective, every_epochs, size)
        self._generation = 1  # the one in progress; ends at epoch generation * every

    def _clear_runtime(self) -> None:
        super()._clear_runtime()
        self._restarts: list[Trial] = []  # still in their process with the old values: to be restarted with the new

    def state(self) -> dict[str, Any]:
        """The state of the population, and the generation in progress."""
        return {**super().state(), "generation": self._generation}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        super().restore_state(state)
        self._generation = state["generation"]

    # What a study calls; see `tuning.strategies.Population`.

    def turns(self, slots: int) -> str | None:
        """A line for the user if the members do not fill the slots evenly; None if they do."""
        full, rest = divmod(self._size, slots)
        if not full or not rest:
            return None
        return (
            f"{self._size} members on {slots} slots: a generation takes {full + 1} turns, and {slots - rest} of the "
            f"slots wait in the last one; {full * slots} or {(full + 1) * slots} members would use them all, and with "
            "synchronous: false none waits"
        )

    def spare_slots(self) -> int:
        """The number of slots that members hold who wait for others, and are worth to be paused for another study."""
        return len(self._spare())

    def give_slot(self) -> bool:
        """Pause one of these members; False if its process has died, and Tune is to hear of that first."""
        return self._held.pause(self._runner, self._spare()[0])

    # What Tune calls.

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Settles the generation once all are there; see `PopulationScheduler`."""
        self._park(tune_controller)
        if self._generation_ended:
            self._settle(tune_controller, self._living())
        return self._restart(tune_controller) or self._next_for_a_slot(tune_controller)

    # How it moves.

    def _boundary(self, trial: Trial) -> float:
        return self._generation * self._every - ROUNDING

    @property
    def _generation_ended(self) -> bool:
        living = self._living()
        return bool(living) and self.proposed == self._size and all(self._arrived(trial) for trial in living)

    def _spare(self) -> list[Trial]:
        waiting = self._held.waiting()
        if not waiting or self._generation_ended:
            return []
        return [trial for trial in self._living() if trial.trial_id in waiting and self._arrived(trial)]

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
        for trial in living:
            self._end_stage(trial)
        takeovers = self._evolution.takeovers(self._generation, members, self._history)
        for takeover in takeovers:
            self._exploit(runner, takeover)
        self._generation = self._generations(max(epoch_of(trial) for trial in living)) + 1
        replaced = {takeover.member.trial_id for takeover in takeovers}
        for trial in (t for t in living if t in self._held):
            if trial.trial_id in replaced:
                self._restarts.append(trial)
            else:
                train_on(runner, trial)
        self._held.clear()

    def _member(self, trial: Trial) -> Member:
        return Member(self._number(trial), trial.trial_id, self._score(trial), dict(trial.config), self._generation)

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
            and epoch_of(trial) < self._boundary(trial)
            and not has_process(runner, trial)
        ]
        held = next((t for t in self._living() if t in self._held and self._arrived(t)), None)
        if held is not None and (waiting or self.proposed < self._size):
            self._held.pause(runner, held)
        first = min(waiting, key=epoch_of, default=None)  # the first proposed among equals
        return None if first is None or (first.status == Trial.PAUSED and self.full) else first
