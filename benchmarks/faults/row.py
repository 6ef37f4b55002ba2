"""The result of a point: one row of the table, with the figures behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults.kills import Run


@dataclass(frozen=True)
class Settings:
    """The options of the command line, for all points."""

    place: Path  # for the runs' folders
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    strategies: Sequence[str] = ("grid", "hyperopt_asha", "pbt")
    kill_points: int = 10
    cases: int = 100  # of damage
    minutes: float = 30.0
    say: Callable[[str], None] = print


class Row(NamedTuple):
    """The row of one point."""

    title: str
    done: str  # what was done
    tunefleet: str
    raw_ray: str
    passed: bool
    figures: Mapping[str, Any]


@dataclass
class Tally:
    """Adds up runs; `figures` has each of them."""

    runs: int = 0
    kills: int = 0
    repeated: int = 0
    complaints: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, run: Run, repeated: int, complaints: Sequence[str], **facts: Any) -> None:
        """Adds one run, which was killed once less than it had lives."""
        kills = len(run.lives) - 1
        self.runs, self.kills, self.repeated = self.runs + 1, self.kills + kills, self.repeated + repeated
        self.complaints += complaints
        seconds = {"seconds": round(run.seconds, 1), "training_seconds": round(run.training_seconds, 1)}
        self.figures.append({**facts, "kills": kills, "repeated": repeated, **seconds, "complaints": [*complaints]})

    def told(self) -> str:
        """Returns its complaints as sentences."""
        return "no complaint" if not self.complaints else f"{len(self.complaints)} complaints"
