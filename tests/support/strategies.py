"""Makes a strategy of every kind that is found: a new file, or an installed entry point, is tested by being there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tuning.space import Space
from tuning.strategies import Plan, Strategy, find_strategies
from tuning.testing.plan_contract import OBJECTIVE
from tuning.testing.proposals import Proposer

REQUIRED = 6  # of what has no default: trials, population
RATE = {"learning_rate": {"loguniform": [1e-5, 1e-3]}}
UNEQUAL = {"num_train_epochs": {"choice": [2, 3]}}
FIXED = {"learning_rate": 1e-4}
LISTED = {"per_device_train_batch_size": {"choice": [16, 32]}}
# A space, the epochs of a trial, and the path that the strategy names.
REFUSED: Mapping[str, Sequence[tuple[dict[str, Any], float, str]]] = {
    "random": [(FIXED, 4.0, "space")],
    "hyperopt": [(FIXED, 4.0, "space")],
    "random_asha": [(FIXED, 3.0, "space"), (UNEQUAL, 3.0, "space.num_train_epochs"), (RATE, 0.5, "grace_epochs")],
    "random_moasha": [(FIXED, 3.0, "space"), (UNEQUAL, 3.0, "space.num_train_epochs"), (RATE, 0.5, "grace_epochs")],
    "wandb_sweep": [(FIXED, 4.0, "space")],
    "hyperopt_asha": [(FIXED, 3.0, "space"), (UNEQUAL, 3.0, "space.num_train_epochs"), (RATE, 0.5, "grace_epochs")],
    "optuna": [(FIXED, 4.0, "space")],
    "custom": [(FIXED, 3.0, "space"), (UNEQUAL, 3.0, "space.num_train_epochs"), (RATE, 0.5, "grace_epochs")],
    "pbt": [(RATE, 1.0, "perturb_every_epochs")],
    "pb2": [(RATE, 1.0, "perturb_every_epochs"), (LISTED, 4.0, "space"), (FIXED, 4.0, "space")],
    "defaults": [(RATE, 4.0, "space")],
}
# As small as shows what it does: whole studies of it are run.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "grid": {"points": 2},
    "random": {"trials": 4},
    "random_asha": {"trials": 5},
    "random_moasha": {"trials": 5},
    "hyperopt": {"trials": 5, "initial_random": 3},
    "hyperopt_asha": {"trials": 5, "initial_random": 3},
    "optuna": {"trials": 5, "initial_random": 3},
    "custom": {"trials": 5, "initial_random": 3, "stopping": "hyperband"},
    "pbt": {"population": 4},
    "pb2": {"population": 4},
    "wandb_sweep": {"trials": 5, "early_terminate": {"min_iter": 1, "eta": 2}},
}
UNSEEDED = {"grid", "defaults"}  # draw nothing
ASKS_A_SERVER = {"wandb_agent"}  # its trials are what a server hands out: `tests/tuning/tracking` has one
SINGLE = {"defaults": {"space": Space.model_validate({"learning_rate": 5e-5, "weight_decay": 0.0}), "slots": 1}}


def make(kind: str, **fields: Any) -> Strategy:
    """Makes the strategy of a kind with its defaults."""
    strategy = find_strategies()[kind]
    required = {name: REQUIRED for name, field in strategy.model_fields.items() if field.is_required()}
    return strategy(**{**required, **fields})


def proposals(plan: Plan) -> list[dict[str, Any]]:
    """Returns the values of all trials of a fresh plan."""
    return Proposer(plan, OBJECTIVE).ask()


def endless(kind: str) -> Strategy | None:
    """Makes a strategy that proposes until a budget is spent; None of a kind that always has an end."""
    fields = find_strategies()[kind].model_fields
    if "trials" not in fields:
        return None
    return make(kind, trials=None, **({"initial_random": 4} if "initial_random" in fields else {}))


def asynchronous(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Strategy]:
    """Returns, by kind, the strategies in which nobody waits, of those that can be so."""
    able = [kind for kind, found in find_strategies().items() if "synchronous" in found.model_fields]
    return {kind: make(kind, **{**fields.get(kind, {}), "synchronous": False}) for kind in able}


def kinds() -> list[str]:
    """Returns the kinds that keep the contracts by themselves."""
    return [kind for kind in find_strategies() if kind not in ASKS_A_SERVER]


def installed_kinds() -> list[str]:
    """Returns those of `kinds` that lack no package here."""
    return [kind for kind in kinds() if not make(kind).install_command()]


def plan_contracts(contract: type) -> dict[str, type]:
    """Returns, by name, a class of tests for each strategy: with its defaults, without end, and without waiting."""
    tested = {f"Test_{kind}": make(kind) for kind in kinds()}
    tested |= {f"Test_{kind}_without_end": found for kind in kinds() if (found := endless(kind))}
    tested |= {f"Test_{kind}_asynchronous": found for kind, found in asynchronous({}).items()}
    return {name: _tests_of(name, contract, strategy) for name, strategy in tested.items()}


def study_contracts(contract: type) -> dict[str, type]:
    """Returns, by name, a class of tests for each strategy, a small one, and for each that can be without waiting."""
    tested = {f"Test_{kind}": make(kind, **SMALL.get(kind, {})) for kind in kinds()}
    tested |= {f"Test_{kind}_asynchronous": found for kind, found in asynchronous(SMALL).items()}
    return {name: _tests_of(name, contract, strategy) for name, strategy in tested.items()}


def _tests_of(name: str, contract: type, strategy: Strategy) -> type:
    """Returns the tests of a strategy; they are skipped where it lacks packages that no extra can name."""
    made = type(name, (contract,), _stated(strategy))
    if command := strategy.install_command():
        made = pytest.mark.skip(reason=f"needs: {command}")(made)
    return made


def _stated(strategy: Strategy) -> dict[str, Any]:
    kind = strategy.kind
    stated = {"strategy": strategy, "seeded": kind not in UNSEEDED, "refused": REFUSED.get(kind, ())}
    return {**stated, **SINGLE.get(kind, {})}
