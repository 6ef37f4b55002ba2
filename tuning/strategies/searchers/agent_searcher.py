"""The runs of a W&B server's sweep as a searcher for Tune. It imports Ray: strategies import it inside `plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from trainables.errors import InputError
from trainables.spec import Value
from tuning.space import Space
from tuning.space.dimensions import Dimension, Fixed
from tuning.space.ranges import Range

if TYPE_CHECKING:
    from tuning.tracking.online_sweep import OnlineSweep

LAST_DIGIT = 1e-6  # of a range: by so much a value may lie beside it


class AgentSearcher(Searcher):  # type: ignore[misc]
    """Proposes what the server hands out, with the values as the server has them.

    Args:
        space: of the sweep.
        names: hyperparameter -> the sweep's name of it, where that differs.
        sweep: of the server.
    """

    def __init__(self, space: Space, names: Mapping[str, str], sweep: OnlineSweep) -> None:
        super().__init__()
        self._space, self._names, self._sweep = space, names, sweep

    def suggest(self, trial_id: str) -> dict[str, Value] | str | None:
        """The next run's values; None while the server has none, FINISHED when it has no more.

        Raises:
            InputError: a value is none of the space, or a name is missing.
        """
        if (run := self._sweep.next_run()) is None:
            return str(Searcher.FINISHED) if self._sweep.over else None
        params = {name: self._value(name, dimension, run.values) for name, dimension in self._space.items()}
        self._sweep.begin(trial_id, run)
        return params

    def _value(self, name: str, dimension: Dimension, values: Mapping[str, Any]) -> Value:
        if isinstance(dimension, Fixed):
            return dimension.value
        given = self._names.get(name, name)
        value = values.get(given)
        if isinstance(dimension, Range) and isinstance(value, int | float) and not isinstance(value, bool):
            low, high = dimension.bounds
            if abs((cast := dimension.cast(value)) - value) <= LAST_DIGIT * (high - low):
                return cast
        elif given in values and dimension.contains(value):
            return value
        step = "was the sweep changed after this experiment had begun? Begin another one: sweep-agent ... --fresh"
        raise InputError(f"parameters.{given}", value, "the server proposes what the space does not hold", step)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune when a trial has ended."""
        self._sweep.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Write which trial has which run. Called by Tune with each snapshot."""
        Path(checkpoint_path).write_text(json.dumps(self._sweep.state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on with these runs. Called by Tune before it adds the trials of the snapshot."""
        self._sweep.restore(json.loads(Path(checkpoint_path).read_text()))
