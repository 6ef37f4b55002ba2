"""The valid part of a spec, on which the checks work when some of its fields are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tuning.spec.mistakes import OWN, Mistake, join_path, mistakes_of
from tuning.strategies import Strategy

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

# Read in place of required fields that are missing or wrong; no check reads them (`Draft.broken`).
STAND_INS = {"name": "unnamed", "epochs": 1.0, "strategies": [{"kind": "grid"}]}
BY_ENTRY = ("space", "fixed", "strategies")  # a wrong entry leaves the others usable


@dataclass(frozen=True)
class Draft:
    """The valid part of a spec."""

    spec: ExperimentSpec
    broken: frozenset[str] = frozenset()  # fields that hold a stand-in or a default; `space.*`: that lack entries
    positions: tuple[int, ...] = ()  # of `spec.strategies` in what the user wrote

    @classmethod
    def read(cls, raw: Mapping[str, Any], model: type[ExperimentSpec]) -> tuple[Draft, list[Mistake]]:
        """Splits `raw` into its valid part and the mistakes that the models find."""
        own = ":" in str(raw.get("trainable"))  # hints for keys differ
        try:
            spec = model.model_validate(raw, context={OWN: own})
        except ValidationError as error:
            wrong = [detail["loc"] for detail in error.errors()]
            return cls._of_the_rest(raw, wrong, model), mistakes_of(error, model, own=own)
        return cls(spec, positions=tuple(range(len(spec.strategies)))), []

    @classmethod
    def _of_the_rest(
        cls, raw: Mapping[str, Any], wrong: list[tuple[int | str, ...]], model: type[ExperimentSpec]
    ) -> Draft:
        """The draft of `raw` without its wrong fields; of fields with entries, without the wrong entries."""
        entries = {loc[:2] for loc in wrong if len(loc) > 1 and loc[0] in BY_ENTRY}
        broken = {str(loc[0]) for loc in wrong if loc[:2] not in entries}
        kept = {key: value for key, value in raw.items() if key in model.model_fields and key not in broken}
        for section in {str(section) for section, _ in entries} & kept.keys():
            kept[section] = _without({entry for key, entry in entries if key == section}, raw[section])
            broken.add(f"{section}.*")
        if not kept.get("strategies"):
            kept.pop("strategies", None)
        given = range(len(kept.get("strategies", ())) + len(entries))
        positions = (i for i in given if ("strategies", i) not in entries)
        broken |= STAND_INS.keys() - kept.keys()
        spec = model.model_validate({**STAND_INS, **kept})
        return cls(spec, frozenset(broken), tuple(positions) if "strategies" in kept else ())

    def strategies(self) -> Iterator[tuple[str, Strategy]]:
        """Pairs of path and valid strategy."""
        return ((join_path("strategies", i), s) for i, s in zip(self.positions, self.spec.strategies, strict=False))


def _without(wrong: set[int | str], entries: Any) -> Any:
    if isinstance(entries, Mapping):
        return {key: value for key, value in entries.items() if key not in wrong}
    return [value for position, value in enumerate(entries) if position not in wrong]
