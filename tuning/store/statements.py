"""SQL on Optuna's tables for frequent or large reads and writes, which are slow through Optuna's objects.

Each function is one transaction, in the dialect of SQLite or PostgreSQL. `tests/tuning/store` reads the rows back with
Optuna's own methods, on both databases.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuning.store.checksums import verify_checksum, with_checksum

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import TrialState
    from sqlalchemy import Connection


def insert_trial(
    storage: RDBStorage,
    study: int,
    number: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    attributes: Mapping[str, Any],
) -> int:
    """Creates a running trial; returns Optuna's id of it.

    Optuna's method counts the trials of the study to number the new one, and queries the study's earlier distribution
    of each param: it takes longer the more trials there are.

    Args:
        storage: the open database.
        study: Optuna's id of the study. Nobody else may add trials to it now.
        number: of the trial in its study, from 0.
        params: a value for each name in `distributions`.
        distributions: the same ones for every trial of the study.
        attributes: user attributes, as JSON values.

    Raises:
        KeyError: no such study.
    """
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from optuna.trial import TrialState
    from sqlalchemy import insert
    from sqlalchemy.orm import Session

    with Session(storage.engine) as session, session.begin():
        if session.get(models.StudyModel, study) is None:
            raise KeyError(study)
        trial = models.TrialModel(
            study_id=study, number=number, state=TrialState.RUNNING, datetime_start=datetime.now()
        )
        session.add(trial)
        session.flush()
        made = int(trial.trial_id)
        internal = {name: distribution.to_internal_repr(params[name]) for name, distribution in distributions.items()}
        rows = [
            {
                "trial_id": made,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distributions[name]),
            }
            for name, value in internal.items()
        ]
        if rows:
            session.execute(insert(models.TrialParamModel), rows)
        rows = [{"trial_id": made, "key": name, "value_json": json.dumps(value)} for name, value in attributes.items()]
        session.execute(insert(models.TrialUserAttributeModel), rows)
    return made


def end_trial(storage: RDBStorage, trial: int, state: TrialState, value: float | None, error: str | None) -> None:
    """Writes the end of a trial: its state, its value and its error, as far as it has them, in one transaction.

    Raises:
        KeyError: no such trial.
    """
    from optuna.storages._rdb import models
    from sqlalchemy.orm import Session

    with Session(storage.engine) as session, session.begin():
        row = session.get(models.TrialModel, trial)
        if row is None:
            raise KeyError(trial)
        storage.check_trial_is_updatable(trial, row.state)  # type: ignore[arg-type]
        if value is not None:
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            session.add(models.TrialValueModel(trial_id=trial, objective=0, value=stored, value_type=kind))
        if error is not None:
            text = json.dumps(error)
            session.add(models.TrialUserAttributeModel(trial_id=trial, key="error", value_json=text))
        row.state, row.datetime_complete = state, datetime.now()


def set_attribute_and_value(
    storage: RDBStorage, trial: int, name: str, attribute: Mapping[str, Any], step: int, value: float
) -> None:
    """Writes a user attribute (with checksum) and an intermediate value of a trial in one transaction.

    Each replaces an earlier one of the same name. Optuna's public methods take two transactions and twice the time,
    and the driver does this at every report.

    Raises:
        KeyError: no such trial.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import select

    trials, values = models.TrialModel.__table__, models.TrialIntermediateValueModel
    stored, kind = values.intermediate_value_to_stored_repr(value)
    with storage.engine.begin() as connection:
        state = connection.execute(select(trials.c.state).where(trials.c.trial_id == trial)).scalar_one_or_none()
        if state is None:
            raise KeyError(trial)
        storage.check_trial_is_updatable(trial, state)
        row = {"trial_id": trial, "key": name, "value_json": json.dumps(with_checksum(attribute))}
        _upsert(connection, models.TrialUserAttributeModel, ("trial_id", "key"), [row])
        row = {"trial_id": trial, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        _upsert(connection, values, ("trial_id", "step"), [row])


def set_study_attributes(storage: RDBStorage, study: int, attributes: Mapping[str, Any]) -> None:
    """Writes user attributes of a study, with checksums, in one transaction. Optuna's method takes one for each.

    Raises:
        KeyError: no such study.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import select

    studies = models.StudyModel.__table__
    rows = [
        {"study_id": study, "key": name, "value_json": json.dumps(with_checksum(value))}
        for name, value in attributes.items()
    ]
    with storage.engine.begin() as connection:
        if connection.execute(select(studies.c.study_id).where(studies.c.study_id == study)).first() is None:
            raise KeyError(study)  # SQLite would accept rows of a missing study
        _upsert(connection, models.StudyUserAttributeModel, ("study_id", "key"), rows)


def study_attributes(storage: RDBStorage, study: int) -> dict[str, Any]:
    """Returns the attributes that `set_study_attributes` wrote, verified.

    Raises:
        DamagedRecord: a checksum differs.
    """
    return {name: verify_checksum(name, stored) for name, stored in storage.get_study_user_attrs(study).items()}


def attribute_of_studies(storage: RDBStorage, name: str) -> dict[int, tuple[str, Any]]:
    """Returns one user attribute of all studies that have it: study id -> (study name, value with checksum).

    Studies are in order of creation. Optuna's method would read all attributes of all studies, and a study has one for
    each trial.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import select

    studies, attributes = models.StudyModel.__table__, models.StudyUserAttributeModel.__table__
    query = (
        select(studies.c.study_id, studies.c.study_name, attributes.c.value_json)
        .join_from(studies, attributes, studies.c.study_id == attributes.c.study_id)
        .where(attributes.c.key == name)
        .order_by(studies.c.study_id)
    )
    with storage.engine.begin() as connection:
        return {number: (title, json.loads(text)) for number, title, text in connection.execute(query)}


def _upsert(connection: Connection, model: Any, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    connection.execute(_upsert_statement(connection.dialect.name, model, key, tuple(rows[0])), rows)


@functools.cache
def _upsert_statement(dialect: str, model: Any, key: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """Returns the statement that inserts rows of these columns, or replaces what is there under their key.

    To construct it costs as much as to execute it, and the driver executes two at every report.
    """
    from sqlalchemy.dialects import postgresql, sqlite

    insert = (postgresql if dialect == "postgresql" else sqlite).insert(model.__table__)
    fresh = {column: insert.excluded[column] for column in columns if column not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=fresh)
