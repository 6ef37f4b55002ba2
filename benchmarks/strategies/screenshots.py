"""Pictures of a page as a laptop and a phone show it: Debian's Chromium, headless, which Playwright drives."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = (1280, 390)  # CSS pixels
DRAWN = "html[data-drawn='true']"  # set by the page's own script when its figures stand


def program() -> tuple[str | None, str | None]:
    """Chromium's path, or what is missing to drive it and the next step."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        return None, "no Chromium on this machine: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return None, "playwright is not installed: pip install -e '.[dev]'"
    return found, None


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser process.

    Raises:
        RuntimeError: there is none; says what is missing.
    """
    path, missing = program()
    if missing is not None:
        raise RuntimeError(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # As root, as in a container, Chromium starts without its sandbox only; it opens our own pages alone.
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def take(page: Path) -> list[Path]:
    """Pictures of the whole page beside it, one for each width; returns their files."""
    files = []
    with chromium() as browser:
        for width in WIDTHS:
            context = browser.new_context(viewport={"width": width, "height": 900})
            tab = context.new_page()
            tab.goto(page.absolute().as_uri())
            tab.wait_for_selector(DRAWN)
            files.append(page.with_name(f"{page.stem}-{width}.png"))
            tab.screenshot(path=files[-1], full_page=True)
            context.close()
    return files
