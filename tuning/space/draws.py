"""Random draws from a space, one after the other and none twice. The same ones for the same seed, whoever asks."""

from __future__ import annotations

import random
from collections.abc import Iterator

from trainables.spec import Value
from tuning.space.search_space import Space


class Draws(Iterator[dict[str, Value]]):
    """Draws of all dimensions without repeats; ends when every configuration of a finite space was drawn.

    In a space without end they are `Space.sample`'s, one by one. Can be pickled in between.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._rng = space, random.Random(seed)
        self._size, self._drawn = space.size, set[str]()

    def __next__(self) -> dict[str, Value]:
        """The next draw that was not made before.

        Raises:
            StopIteration: there is none.
        """
        if self._size is None:
            return self._space.sample(self._rng)
        if len(self._drawn) == self._size:
            raise StopIteration
        while (shown := repr(params := self._space.sample(self._rng))) in self._drawn:
            pass
        self._drawn.add(shown)
        return params
