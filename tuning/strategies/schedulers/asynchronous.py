"""Population-based training without waiting: a member at the end of its generation goes on at once, as in the paper.

As soon as its checkpoint is on storage it is compared with the latest scores of the others. Either it trains on in its
process as if nothing had happened, or it is restarted from the newest checkpoint of a donor, at the donor's epoch,
which may lie before or after its own.

- A member's latest score is that of its own newest checkpoint. One that has taken over keeps, until it has reported
  again, the score for which it was replaced: else each takeover would lower the bar, and the next worst member would
  follow in its turn, down to the last one.
- Until then it is no donor either: its weights are another member's. So a checkpoint can be taken over only while the
  member that has made it trains, and the population moves on, also where scores get worse with training.
- With more members than slots, those furthest behind train: by whole generations, the first proposed among equals. A
  member hands its slot on at the end of a generation alone, to one that is further behind.

Each decision follows from `state()` and from the trials that Tune saves with it, and its draws from the seed, the
member, and how often that member has taken over. So it is made again the same way after a crash, unless another member
is faster than before: with several slots who meets whom depends on the order of arrival, as with ASHA.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, algorithm 1.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial

from trainables.epochs import ROUNDING
from tuning.strategies.schedulers.evolution import Member
from tuning.strategies.schedulers.population import PopulationScheduler, epoch_of
from tuning.tune_compat.population import has_process, keep_paused, train_on


class AsynchronousPopulation(PopulationScheduler):
    """Compares each member every `every_epochs` epochs; the arguments are those of `PopulationScheduler`."""

    # What a study calls; see `tuning.strategies.Population`.

    def turns(self, slots: int) -> str | None:
        """Returns None: no slot waits."""
        return None

    def spare_slots(self) -> int:
        """Returns 0: no member waits in a slot."""
        return 0

    def give_slot(self) -> bool:
        """Returns False: there is none to give."""
        return False

    # What Tune calls.

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Decides on the members that have arrived, and on who has a slot; see `PopulationScheduler`."""
        arrived = [trial for trial in self._living() if self._arrived(trial)]
        for trial in arrived:
            self._decide(tune_controller, trial)
        held = [trial for trial in arrived if trial in self._held]
        waiting = [trial for trial in self._living() if self._waits(tune_controller, trial)]
        chosen = self._chosen(held, waiting)
        for trial in held:
            if trial in chosen and not self._is_clone(trial):
                self._held.discard(trial)
                train_on(tune_controller, trial)
            else:
                self._held.pause(tune_controller, trial)
        for trial in waiting:
            if trial.status == Trial.PENDING and trial not in chosen:
                keep_paused(tune_controller, trial)
        paused = (trial for trial in chosen if trial.status == Trial.PAUSED)  # Tune starts those that are PENDING
        return next((trial for trial in paused if self._waits(tune_controller, trial)), None)

    # How it moves.

    def _boundary(self, trial: Trial) -> float:
        return (self._generation(trial) + 1) * self._every - ROUNDING

    def _generation(self, trial: Trial) -> int:
        """The number of generations behind the member when it was last compared."""
        return self._generations(self._starts[trial.trial_id].epoch)

    def _is_clone(self, trial: Trial) -> bool:
        """True if the member's newest checkpoint is its donor's."""
        start = self._starts[trial.trial_id]
        return start.replaced is not None and epoch_of(trial) <= start.epoch

    def _decide(self, runner: Any, trial: Trial) -> None:
        """Compare a member with the others, and let it go on as it is or from a donor's weights."""
        living = self._living()
        scored = (self._member(other) for other in living)
        members = {member.trial_id: member for member in scored if member is not None}
        times = sum(one.trial_id == trial.trial_id for one in self.lineage)
        pending = [self._stage(other) for other in living if other is not trial]
        self._end_stage(trial)
        takeover = self._evolution.takeover(
            members[trial.trial_id], list(members.values()), times, self._history, pending
        )
        if takeover is not None:
            self._exploit(runner, takeover)

    def _member(self, trial: Trial) -> Member | None:
        """The member with its latest score; None if it has none."""
        clone = self._is_clone(trial)
        score = self._starts[trial.trial_id].replaced if clone else self._score(trial) if trial.checkpoint else None
        if score is None:
            return None
        generation = self._generations(epoch_of(trial))
        return Member(self._number(trial), trial.trial_id, score, dict(trial.config), generation, donates=not clone)

    def _waits(self, runner: Any, trial: Trial) -> bool:
        return trial.status in (Trial.PENDING, Trial.PAUSED) and not has_process(runner, trial)

    def _chosen(self, held: list[Trial], waiting: list[Trial]) -> list[Trial]:
        """Those of the members held or waiting that may have a slot now, the furthest behind first.

        Members that are still to be proposed come after those that have not ended a generation, and before the others.
        """
        slots = len(held)
        if self.max_concurrent is not None:
            slots = self.max_concurrent - (len(self._living()) - len(waiting) - len(held))
        behind = sorted([*held, *waiting], key=lambda trial: (self._generation(trial), self._number(trial)))
        first = [trial for trial in behind if not self._generation(trial)]
        later = behind[len(first) :]
        left = slots - len(first) - (self._size - self.proposed)
        return first[: max(0, slots)] + later[: max(0, left)]
