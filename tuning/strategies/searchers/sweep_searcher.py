"""W&B's sweep engine as a searcher for Tune. It imports Ray: strategies import it inside `plan`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from trainables.spec import Value
from tuning.space import Draws, Space
from tuning.space.dimensions import Choice, Dimension
from tuning.space.ranges import Range
from tuning.strategies.schedulers.sweep_stopping import SweepRuns, sweep_engine

LABEL = "value {}"  # of a listed value: the engine takes a 0, an empty text or false for one that is missing


class SweepSearcher(Searcher):  # type: ignore[misc]
    """Proposes what the engine proposes for the runs so far, each time from random states that follow from the seed.

    Ranges are continuous to the engine, as `Range.proxy` has them, and what it proposes is cast to legal params.

    Args:
        space: to search.
        method: bayes, random or grid.
        seed: of all draws.
        runs: of the sweep; the scheduler enters their reports.
    """

    def __init__(self, space: Space, method: str, seed: int, runs: SweepRuns) -> None:
        super().__init__()
        self._space, self._seed, self._runs = space, seed, runs
        listed = method == "grid"
        parameters = {name: _declared(dimension, listed) for name, dimension in space.searched.items()}
        self._config = {"method": method, "metric": runs.metric, "parameters": parameters}
        self._finite = space.size is not None
        self._listed = listed

    def suggest(self, trial_id: str) -> dict[str, Value] | str:
        """Legal params, the fixed ones included; FINISHED when a finite space is used up."""
        if len(self._runs) == self._space.size:
            return str(Searcher.FINISHED)
        with _seeded(self._seed, len(self._runs)):
            proposed = sweep_engine().next_run(self._config, list(self._runs.as_engine()))
        if proposed is None:
            return str(Searcher.FINISHED)
        raw = {name: proposed.config[name]["value"] for name in self._space.searched}
        params = self._params(raw)
        if self._finite and repr(params) in (known := {repr(self._params(one)) for one in self._proposed()}):
            params = next(new for new in Draws(self._space, self._seed) if repr(new) not in known)
        self._runs.begin(trial_id, self._as_proposed(params) if self._finite else _plain(raw))
        return params

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune when a trial has ended; of a failed one the engine imputes the worst score."""
        if result is not None and f"metrics/{self._runs.objective.metric}" in result:
            self._runs.report(trial_id, result)
        self._runs.end(trial_id, "failed" if error else "finished")

    def save(self, checkpoint_path: str) -> None:
        """Write the runs. Called by Tune with each snapshot."""
        Path(checkpoint_path).write_text(json.dumps(self._runs.state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on with the saved runs. Called by Tune before it adds the trials of the snapshot."""
        self._runs.restore(json.loads(Path(checkpoint_path).read_text()))

    def _proposed(self) -> Iterator[Mapping[str, Any]]:
        return (run["config"] for run in self._runs.state.values())

    def _params(self, raw: Mapping[str, Any]) -> dict[str, Value]:
        """Params of values in the engine's own form."""
        fixed = self._space.fixed
        return {
            name: fixed[name] if name in fixed else _cast(dimension, raw[name], self._listed)
            for name, dimension in self._space.items()
        }

    def _as_proposed(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """Params of a finite space in the engine's form."""
        return {name: _label(d, params[name], self._listed) for name, d in self._space.searched.items()}


def _values(dimension: Dimension) -> list[Value]:
    return dimension.grid(dimension.count or 1)


def _declared(dimension: Dimension, listed: bool) -> dict[str, Any]:
    """A dimension as a parameter of a sweep's configuration."""
    if isinstance(dimension, Choice) or listed:
        return {"values": [LABEL.format(place) for place in range(dimension.count or 0)]}
    assert isinstance(dimension, Range)
    low, high = dimension.proxy
    kind = "log_uniform_values" if dimension.log else "uniform"
    return {"distribution": kind, "min": float(low), "max": float(high)}


def _cast(dimension: Dimension, raw: Any, listed: bool) -> Value:
    if isinstance(dimension, Choice) or listed:
        return _values(dimension)[int(str(raw).rpartition(" ")[2])]
    return dimension.cast(raw)


def _label(dimension: Dimension, value: Value, listed: bool) -> Any:
    if isinstance(dimension, Choice) or listed:
        known = [repr(one) for one in _values(dimension)]
        return LABEL.format(known.index(repr(value)))
    return value


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's proposal as JSON holds it: numbers of NumPy as Python's."""
    return {name: value if isinstance(value, str) else float(value) for name, value in raw.items()}


@contextmanager
def _seeded(seed: int, number: int) -> Iterator[None]:
    """Seed the global random states that the engine draws from, and put them back after the block."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    drawn = random.Random(f"{seed}/{number}")
    try:
        random.seed(drawn.getrandbits(64))
        np.random.seed(drawn.getrandbits(32))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
