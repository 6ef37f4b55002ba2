"""A fixed list of params as a searcher for Tune. Imports Ray: strategies import it inside `plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from trainables.spec import Params, Value


class ListSearcher(Searcher):  # type: ignore[misc]
    """Proposes given params in the given order, and learns nothing."""

    def __init__(self, proposals: Sequence[Params]) -> None:
        super().__init__()
        self._proposals = [dict(params) for params in proposals]
        self._proposed = 0

    def suggest(self, trial_id: str) -> dict[str, Value] | str:
        """The next params, or FINISHED after the last."""
        if self._proposed == len(self._proposals):
            return str(Searcher.FINISHED)
        self._proposed += 1
        return dict(self._proposals[self._proposed - 1])

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune; changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Write the position; the list itself is rebuilt from the spec. Called by Tune with each snapshot."""
        Path(checkpoint_path).write_text(json.dumps({"proposed": self._proposed}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on after the last saved proposal. Called by Tune before it adds the trials of the snapshot."""
        self._proposed = json.loads(Path(checkpoint_path).read_text())["proposed"]
