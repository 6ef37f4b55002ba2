"""Copies ended trials in Optuna's storage, which never changes one; its own retry of failed trials copies them, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def copy_as_running(storage: RDBStorage, study_id: int, optuna_id: int) -> int:
    """Copies an ended trial as a running one with the same `trial_id`; returns Optuna's id of the copy."""
    from optuna.trial import TrialState

    old = storage.get_trial(optuna_id)
    attributes = {name: value for name, value in old.user_attrs.items() if name != "error"}
    return _copied(storage, study_id, old, TrialState.RUNNING, attributes, {"continues": old.number})


def copy_as_failed(storage: RDBStorage, study_id: int, optuna_id: int, error: str) -> None:
    """Copies a trial as a failed one with a new `trial_id`, so that another trial can take over the old one."""
    from optuna.trial import TrialState

    old = storage.get_trial(optuna_id)
    name = f"{old.user_attrs['trial_id']}-{old.number}"
    _copied(storage, study_id, old, TrialState.FAIL, {**old.user_attrs, "trial_id": name, "error": error}, {})


def _copied(
    storage: RDBStorage, study_id: int, old: Any, state: Any, user: Mapping[str, Any], system: Mapping[str, Any]
) -> int:
    from optuna.trial import create_trial

    copy = create_trial(
        state=state,
        params=old.params,
        distributions=old.distributions,
        user_attrs=dict(user),
        system_attrs=dict(system),
        intermediate_values=old.intermediate_values,
    )
    return storage.create_new_trial(study_id, copy)
