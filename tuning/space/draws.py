"""First proposals for a space, none twice; the same for the same seed, in every strategy."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

from trainables.spec import Value
from tuning.space.search_space import Space

RETRIES = 100  # of what a point leaves out, where it would be a configuration that is known


def first_points(space: Space, seed: int) -> list[dict[str, Value]]:
    """Returns the points that are known of the space, as configurations: what they leave out is drawn.

    Their draws have a generator of their own, so that the draws behind them are those of a search without points.
    """
    rng, known = random.Random(f"points {seed}"), {repr(trial.params) for trial in space.knowledge.trials}
    found = []
    for point in space.knowledge.points:
        params = space.completed(point.values, rng)
        for _ in range(RETRIES if len(point.values) < len(params) else 0):
            if repr(params) not in known:
                break
            params = space.completed(point.values, rng)
        known.add(repr(params))
        found.append(params)
    return found


class Draws(Iterator[dict[str, Value]]):
    """An iterator of the known points, then of random draws; no draw repeats a point, an earlier trial or, in a finite
    space, another draw.

    It ends when every configuration of a finite space was drawn. In a space without end the draws are those of
    `Space.sample`. The iterator can be pickled in between.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._rng = space, random.Random(seed)
        self._points = deque(first_points(space, seed))
        self._size, self._drawn = space.size, {repr(trial.params) for trial in space.knowledge.trials}

    def __next__(self) -> dict[str, Value]:
        """Returns the next point, or the next draw that was not made before.

        Raises:
            StopIteration: there is no other.
        """
        if self._points:
            params = self._points.popleft()
            self._drawn.add(repr(params))
            return params
        if len(self._drawn) == self._size:
            raise StopIteration
        while (shown := repr(params := self._space.sample(self._rng))) in self._drawn:
            pass
        if self._size is not None:
            self._drawn.add(shown)
        return params
