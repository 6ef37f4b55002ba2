"""What the tests of the experiment share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.drivers import Drivers


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    """Drivers in processes of their own; nothing of them is left at the end."""
    from tests.support.drivers import drivers_in

    with drivers_in(tmp_path) as drivers:
        yield drivers
