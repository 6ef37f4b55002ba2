"""The global random states of a process, which a plug-in neither reads nor changes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any


def random_states() -> tuple[object, object]:
    """Returns the states of `random` and `numpy.random`, which decide what they draw next."""
    import numpy as np

    state: Any = np.random.get_state(legacy=False)["state"]
    return random.getstate(), (state["key"].tolist(), state["pos"])


def seed_all(seed: int) -> None:
    """Seeds `random` and `numpy.random`."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Restores the global random states after the block."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
