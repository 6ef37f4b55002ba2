"""Random draws from a space, none twice; the same for the same seed, in every strategy."""

from __future__ import annotations

import random
from collections.abc import Iterator

from trainables.spec import Value
from tuning.space.search_space import Space


class Draws(Iterator[dict[str, Value]]):
    """An iterator of draws without repeats; it ends when every configuration of a finite space was drawn.

    In a space without end the draws are those of `Space.sample`. The iterator can be pickled in between.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._rng = space, random.Random(seed)
        self._size, self._drawn = space.size, set[str]()

    def __next__(self) -> dict[str, Value]:
        """Returns the next draw that was not made before.

        Raises:
            StopIteration: there is no other.
        """
        if self._size is None:
            return self._space.sample(self._rng)
        if len(self._drawn) == self._size:
            raise StopIteration
        while (shown := repr(params := self._space.sample(self._rng))) in self._drawn:
            pass
        self._drawn.add(shown)
        return params
