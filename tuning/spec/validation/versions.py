"""Checks that the installed Ray and transformers are releases that this package was tested with.

It uses private parts of both, which change without notice. The supported releases stand in pyproject.toml alone; here
they are read from the metadata of the installed distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tuning.spec.mistakes import Mistake

OURS = "tunefleet"
BOUND = ("ray", "transformers")  # whose private parts are used


def supported() -> dict[str, SpecifierSet]:
    """The supported releases of each library of `BOUND`.

    Empty if our code is not installed, as in a submitted job: the machine that has sent it was checked, and `submit`
    refuses a cluster with another Ray.
    """
    try:
        needed = [Requirement(line) for line in requires(OURS) or ()]
    except PackageNotFoundError:
        return {}
    return {one.name: one.specifier for one in needed if one.name in BOUND and one.marker is None}


@cache  # what a process has imported stays what it is, and reading the metadata takes milliseconds
def unsupported() -> tuple[Mistake, ...]:
    """Mistakes that name what to install, if another release is installed; `pip install tunefleet` keeps the bounds."""
    return tuple(_unsupported())


def _unsupported() -> Iterator[Mistake]:
    for name, releases in supported().items():
        step = f"pip install '{name}{releases}'"
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Mistake(name, "is not installed", next_step=step)
            continue
        if not releases.contains(found, prereleases=True):
            rule = f"is installed; {OURS} {version(OURS)} is tested with {name}{releases} and no other release"
            yield Mistake(name, rule, found, step)
