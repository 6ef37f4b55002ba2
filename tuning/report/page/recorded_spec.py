"""The spec as the store has kept it: read without the checks of a run, since its data may lie on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.core_yaml import parse_recorded_spec
from tuning.space import Space


@dataclass(frozen=True)
class RecordedSpec:
    """The resolved spec of an experiment that was run."""

    text: str  # YAML
    raw: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> RecordedSpec:
        """From the YAML that the run has written."""
        return cls(text, parse_recorded_spec(text))

    @property
    def epochs(self) -> float:
        """The full budget of one trial."""
        return float(self.raw["epochs"])

    def strategy(self, name: str) -> Mapping[str, Any]:
        """The fields of the strategy called `name`, as its label or its kind; empty for an unknown one."""
        entries: list[Mapping[str, Any]] = self.raw.get("strategies") or []
        return next((entry for entry in entries if (entry.get("label") or entry["kind"]) == name), {})

    def space(self, strategy: str) -> Space:
        """What the strategy searched: its own space, else the experiment's; empty where that is a function, whose code
        is the user's: the page is drawn elsewhere, too."""
        declared = self.strategy(strategy).get("space") or self.raw.get("space") or {}
        return Space({}) if isinstance(declared, str) else Space.model_validate(declared)
