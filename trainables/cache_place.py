"""Where on a node the tokenised data are kept, and how many bytes of them: two environment variables."""

from __future__ import annotations

import math
import os
from pathlib import Path

from trainables.errors import InputError

FOLDER_VARIABLE, LIMIT_VARIABLE = "TUNEFLEET_CACHE", "TUNEFLEET_CACHE_GB"
DEFAULT_LIMIT = 20.0  # GB, of 10^9 bytes


class StoreError(InputError):
    """The store cannot be used: which variable, its value, the rule, the next step."""


def store_folder() -> Path:
    """Where the store is: `TUNEFLEET_CACHE`, else tunefleet in `XDG_CACHE_HOME`, else in ~/.cache. Makes nothing.

    Raises:
        StoreError: the home folder is unknown, or the folder named is not absolute.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        base = Path(named or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        raise StoreError(FOLDER_VARIABLE, named, str(error), "set it to a folder on a local disk") from error
    if not base.is_absolute():
        rule = "must be an absolute path: every process of the node uses it"
        raise StoreError(FOLDER_VARIABLE if named else "XDG_CACHE_HOME", str(base), rule, "write it out")
    return base if named else base / "tunefleet"


def store_limit() -> int:
    """The bytes that the store may hold, from `TUNEFLEET_CACHE_GB`.

    Raises:
        StoreError: the variable is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not (math.isfinite(gigabytes) and gigabytes > 0):
        step = f"set it to one, such as {DEFAULT_LIMIT:g}, or remove it"
        raise StoreError(LIMIT_VARIABLE, text, "must be a number of gigabytes above 0", step)
    return int(gigabytes * 1e9)
