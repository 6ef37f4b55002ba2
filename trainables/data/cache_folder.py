"""The folder and the size limit of a node's cache, from two environment variables."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

from trainables.errors import InputError
from trainables.machine.disk import make_parents

FOLDER_VARIABLE, LIMIT_VARIABLE = "TUNEFLEET_CACHE", "TUNEFLEET_CACHE_GB"
DEFAULT_LIMIT = 20.0  # GB, of 10^9 bytes


class CacheError(InputError):
    """The cache cannot be used: which variable, its value, the rule, the next step."""


def cache_folder() -> Path:
    """The cache's folder: `TUNEFLEET_CACHE`, else `tunefleet` in `XDG_CACHE_HOME` or ~/.cache. Does not create it.

    Raises:
        CacheError: the home folder is unknown, the folder is not absolute, or it belongs to another account.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        base = Path(named or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        raise CacheError(FOLDER_VARIABLE, named, str(error), "set it to a folder on a local disk") from error
    if not base.is_absolute():
        rule = "must be an absolute path: every process of the node uses it"
        raise CacheError(FOLDER_VARIABLE if named else "XDG_CACHE_HOME", str(base), rule, "write it out")
    folder = base if named else base / "tunefleet"
    _refuse_others(folder, own={os.getuid(), 0})  # a folder of root, such as /scratch, may hold folders of users
    return folder


def private_folder(root: Path, *names: str) -> Path:
    """Returns the folder `names` below the cache `root`; creates it and its parents, closed to other accounts.

    Its content is trusted: it is memory-mapped, trained on, and removed.

    Raises:
        CacheError: one of the folders is another account's, writable for all, or (below `root`) a symbolic link.
        OSError: a folder cannot be created.
    """
    make_parents(root)
    root.mkdir(mode=0o700, exist_ok=True)
    _refuse_others(root, own={os.getuid(), 0})
    folder = root
    for name in names:
        folder = folder / name
        if folder.is_symlink():
            rule = f"{folder} is a symbolic link, and what it leads to would be written, and emptied"
            step = f"remove the link; or set {FOLDER_VARIABLE} to the folder that you want to use"
            raise CacheError(FOLDER_VARIABLE, str(root), rule, step)
        folder.mkdir(mode=0o700, exist_ok=True)
        _refuse_others(folder, own={os.getuid()})
    return folder


def _refuse_others(folder: Path, *, own: set[int]) -> None:
    """Refuses a folder of an account outside `own`, and one that every account can write into.

    Raises:
        CacheError: see above.
    """
    try:
        link, found = folder.lstat(), folder.stat()
    except OSError:  # it does not exist yet; creating it reports errors
        return
    step = f"set {FOLDER_VARIABLE} to a folder of your own on a local disk"
    if others := ({found.st_uid} - own) | ({link.st_uid} - {os.getuid(), 0}):
        rule = f"{folder} belongs to another account (uid {max(others)}), and what lies there would be trained on"
        raise CacheError(FOLDER_VARIABLE, str(folder), rule, step)
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        rule = f"every account can write into {folder} (mode {stat.S_IMODE(found.st_mode):04o})"
        raise CacheError(FOLDER_VARIABLE, str(folder), rule, f"`chmod o-w {folder}`, or {step}")


def cache_limit() -> int:
    """The bytes that the cache may hold, from `TUNEFLEET_CACHE_GB`.

    Raises:
        CacheError: the variable is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not (math.isfinite(gigabytes) and gigabytes > 0):
        step = f"set it to one, such as {DEFAULT_LIMIT:g}, or remove it"
        raise CacheError(LIMIT_VARIABLE, text, "must be a number of gigabytes above 0", step)
    return int(gigabytes * 1e9)
