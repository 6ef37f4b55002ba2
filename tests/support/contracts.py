"""The rules of the shipped contracts, called without pytest's collection: a plug-in that breaks one has to be found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def rules_of(contract: type) -> set[str]:
    """Returns the names of a contract's tests."""
    return {name for name, _ in inspect.getmembers(contract, inspect.isfunction) if name.startswith("test_")}


def check(contract: type, rule: str, fixtures: Mapping[str, Callable[[], Any]]) -> None:
    """Runs one test of a contract.

    Args:
        contract: states its plug-in.
        rule: name of the test.
        fixtures: by name, what makes them; only those that the test asks for are made.

    Raises:
        AssertionError: the plug-in breaks the rule.
    """
    test = getattr(contract(), rule)
    test(**{name: fixtures[name]() for name in inspect.signature(test).parameters})
