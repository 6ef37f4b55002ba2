"""Reads the recorded spec of an experiment without validation, since its data may be on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.core_yaml import parse_recorded_spec
from tuning.space import Space


@dataclass(frozen=True)
class RecordedSpec:
    """The resolved spec of an experiment, as recorded."""

    text: str  # YAML
    raw: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> RecordedSpec:
        """Parses the YAML that the run recorded."""
        return cls(text, parse_recorded_spec(text))

    @property
    def epochs(self) -> float:
        """The full length of one trial in epochs."""
        return float(self.raw["epochs"])

    def strategy(self, name: str) -> Mapping[str, Any]:
        """Returns the section of the strategy with that label or kind; {} for an unknown one."""
        entries: list[Mapping[str, Any]] = self.raw.get("strategies") or []
        return next((entry for entry in entries if (entry.get("label") or entry["kind"]) == name), {})

    def space(self, strategy: str) -> Space:
        """Returns the search space of a strategy: its own, else the experiment's.

        It is empty if the space is a function, since its code may not be on this machine.
        """
        declared = self.strategy(strategy).get("space") or self.raw.get("space") or {}
        return Space({}) if isinstance(declared, str) else Space.model_validate(declared)
