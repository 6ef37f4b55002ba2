"""Follows the cluster while a study runs: how many trials may run at a time, and which slots the study is charged for.

The study is charged for the slots that it holds or could hold, not for those that other jobs of a shared cluster hold.
These are known from what is free and what the study's own processes hold, also those that are still to start: that
takes seconds, in which their slots are nobody else's. A slot that changes hands is for a moment neither, so one is
taken for another job's only if two checks in a row find it so; what others hold when the study begins is found by the
first check. On a cluster without other jobs all slots are charged, idle or busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.ray_compat.leaks import LeakCheck

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.strategies import Plan
    from tuning.study.budget_tracker import BudgetTracker


class HeldSlots:
    """Adjusts a study's limits and its budget to the cluster; a local Ray does not change.

    Args:
        session: of the study.
        plan: whose population, if it has one, keeps to the limit by itself.
        budget: of the study.
    """

    def __init__(self, session: Session, plan: Plan, budget: BudgetTracker) -> None:
        self._session, self._plan, self._budget = session, plan, budget
        self._leaks = LeakCheck()
        self._before = 0  # slots within reach at the check before; the first check decides alone

    def check(self, held: int, held_now: Callable[[], int]) -> int | None:
        """Checks the cluster.

        Now and then `LeakCheck` looks for leaks on the nodes: Tune drops placement groups while they are made.

        Args:
            held: the most slots that the study's processes have held since the check before.
            held_now: returns how many these are now, with those that Ray holds for processes that are to start; called
                where the study may not hold all slots.

        Returns:
            How many trials may run at a time; None where Tune's own limit stays: on a local Ray, and of a population.
        """
        self._leaks.look()
        if self._session.address is None:
            return None
        now = self._session.refreshed()
        if held < now.slots:
            held = max(held, held_now())
        before, self._before = self._before, now.slots_within_reach(held)
        self._budget.advance()  # the time up to now was spent with the slots of before
        self._budget.slots = min(now.slots, max(before, self._before))
        if self._plan.population is None:
            return now.limit
        self._plan.population.limit(now.limit)
        return None
