"""Contracts that a plug-in keeps, as classes of pytest tests: one line tests a strategy, a task, a store or a storage.

    from tuning.testing import StrategyContract

    class TestMine(StrategyContract):
        strategy = Mine(trials=4)

Pytest collects the contract's tests in the subclass. The docstring of each contract says what a subclass states. A
failure names the rule, what was seen, and what to do. Only the contracts import pytest, which is no dependency of
`pip install tunefleet`.

`tuning.testing.simulated_ray` runs whole experiments without processes, in virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.testing.storage_contract import StorageContract
    from tuning.testing.store_contract import StoreContract
    from tuning.testing.strategy_contract import StrategyContract
    from tuning.testing.task_contract import TaskContract

__all__ = ["StorageContract", "StoreContract", "StrategyContract", "TaskContract"]

_HOMES = {
    "StorageContract": "tuning.testing.storage_contract",
    "StoreContract": "tuning.testing.store_contract",
    "StrategyContract": "tuning.testing.strategy_contract",
    "TaskContract": "tuning.testing.task_contract",
}


def __getattr__(name: str) -> Any:
    """Imports a contract when it is first used, as `simulated_ray` in this folder needs no pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tuning.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
