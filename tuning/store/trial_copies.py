"""Creates trials in Optuna's storage, and copies ended ones.

Optuna never changes an ended trial; its own retry of failed trials copies them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuning.store.checksums import with_checksum

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from trainables.spec import Params


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


def new_trial(storage: RDBStorage, study_id: int, trial_id: str, plain: Params, searched: Mapping[str, Any]) -> int:
    """Creates a running trial; returns Optuna's id.

    Args:
        storage: the open database.
        study_id: Optuna's id of the study.
        trial_id: Tune's id of the trial.
        plain: its params, as JSON values.
        searched: distributions of the params that the dashboard draws.
    """
    from optuna.trial import TrialState, create_trial

    template = create_trial(
        state=TrialState.RUNNING,
        params={name: plain[name] for name in searched},
        distributions=dict(searched),
        user_attrs={"trial_id": trial_id, "params": with_checksum(dict(plain))},
    )
    return storage.create_new_trial(study_id, template)


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
