"""Takes pictures of a page as a laptop and a phone show it, with headless Chromium and Playwright."""

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
    """Returns Chromium's path, or what is missing to run it, with the next step."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        return None, "no Chromium on this machine: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return None, "playwright is not installed: pip install -e '.[dev]'"
    return found, None


@contextmanager
def chromium() -> Iterator[Browser]:
    """Runs one browser process in the block.

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
    """Takes pictures of the whole page, one for each width, beside it; returns their files."""
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
