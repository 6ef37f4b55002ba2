"""Debian's Chromium, headless, for the tests of the page. Playwright drives it, and brings no browser of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MISSING = "no Chromium on this machine: apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser process. Skips where there is none, but in CI, which installs it."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with playwright.sync_playwright() as play:
        # As root, as in a container, Chromium starts without its sandbox only; it opens our own pages alone.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        found = play.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()
