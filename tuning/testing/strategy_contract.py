"""The contract of every strategy: its plans (`plan_contract`), and how its studies run (`study_contract`)."""

from __future__ import annotations

from tuning.testing.plan_contract import PlanContract
from tuning.testing.study_contract import StudyContract

__all__ = ["PlanContract", "StrategyContract", "StudyContract"]


class StrategyContract(PlanContract, StudyContract):
    """Tests of one strategy: seconds of its plans, and five whole studies in virtual time.

    A subclass states `strategy`, and where they do not suit it `space`, `epochs`, `refused`, `seeded`, `installed`,
    `study_space`, `slots`.
    """
