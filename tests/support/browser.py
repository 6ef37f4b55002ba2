"""A headless Chromium for the tests of the page, or the reason why there is none."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def need_chromium() -> str:
    """Returns Chromium's path. Skips the test without one, except in CI, which installs it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is not None and importlib.util.find_spec("playwright") is not None:
        return path
    program, step = ("playwright", "pip install -e '.[dev]'") if path else ("Chromium", "apt-get install chromium")
    missing = f"no {program} on this machine: {step}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Runs one browser process, or does as `need_chromium`."""
    path = need_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # As root, as in a container, Chromium starts without its sandbox only; it opens our own pages alone.
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()
