"""A headless Chromium for the tests of the page, or the reason why there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from benchmarks.strategies import screenshots

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def need_chromium() -> None:
    """Skip where there is none, but in CI, which installs it."""
    _, missing = screenshots.program()
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser process, or as `need_chromium`."""
    need_chromium()
    with screenshots.chromium() as found:
        yield found
