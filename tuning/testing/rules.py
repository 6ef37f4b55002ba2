"""Checks of a contract, and the error that names the rule that a plug-in breaks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator


class RuleBroken(AssertionError):
    """A plug-in breaks a rule of its contract."""


def require(kept: object, rule: str, *, seen: object, step: str) -> None:
    """Fails the test unless the rule is kept.

    Args:
        kept: true if it is kept.
        rule: what every plug-in does, as a sentence.
        seen: what this one did.
        step: what its author should do about it.

    Raises:
        RuleBroken: it is not kept.
    """
    __tracebackhide__ = True
    if not kept:
        raise RuleBroken(f"{rule}\n  seen: {seen}\n  next: {step}")


def require_equal(found: object, expected: object, rule: str, *, step: str) -> None:
    """Fails the test unless `found` is equal to `expected`, which the rule demands.

    Raises:
        RuleBroken: they differ.
    """
    __tracebackhide__ = True
    require(found == expected, rule, seen=f"{found!r}, and not {expected!r}", step=step)


@contextlib.contextmanager
def require_refused(error: type[Exception], message: str, rule: str, *, step: str) -> Iterator[None]:
    """Fails the test unless the block raises `error` with a message that the regular expression `message` matches.

    Raises:
        RuleBroken: it raises nothing, or with another message.
    """
    __tracebackhide__ = True
    try:
        yield
    except error as raised:
        found = re.search(message, str(raised), re.DOTALL)
        require(found, rule, seen=f"{type(raised).__name__}: {raised}", step=f"{step}; the message says {message!r}")
    else:
        require(False, rule, seen="nothing was raised", step=step)
