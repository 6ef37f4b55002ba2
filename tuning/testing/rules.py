"""How a contract tells that a plug-in breaks one of its rules."""

from __future__ import annotations


class RuleBroken(AssertionError):
    """A plug-in breaks a rule of its contract."""


def require(kept: object, rule: str, *, seen: object, step: str) -> None:
    """Fail the test unless the rule is kept.

    Args:
        kept: true if it is.
        rule: what every plug-in does, as a sentence.
        seen: what this one did.
        step: what its author does about it.

    Raises:
        RuleBroken: it is not kept.
    """
    __tracebackhide__ = True
    if not kept:
        raise RuleBroken(f"{rule}\n  seen: {seen}\n  next: {step}")
