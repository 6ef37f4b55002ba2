"""One experiment out of a study store, into a SQLite file of its own: for a laptop far from the team's database.

Row by row as they are: what belongs to one of its studies, or to a trial of one, goes with it.
"""

from __future__ import annotations

from pathlib import Path

from tuning.spec.store_url import sqlite_url
from tuning.store.checksums import verify_checksum
from tuning.store.database import database_errors, open_database
from tuning.store.layout import IDENTITY
from tuning.store.statements import attribute_of_studies
from tuning.store.study_store import StudyStore

ROWS = 1000  # at once


def copy_experiment(url: str, experiment: str, target: Path) -> None:
    """Copy what is recorded of `experiment` in the store at `url` into the new SQLite file `target`.

    A run may write meanwhile: what is copied is the state of one moment.

    Raises:
        StoreError: no such experiment, or one of the stores cannot be read or written.
    """
    from optuna.storages._rdb.models import BaseModel
    from sqlalchemy import select

    StudyStore(url).load(experiment)  # says what is wrong with the store, or the name
    source, copy = open_database(url, create=False), open_database(sqlite_url(target), create=True)
    known = attribute_of_studies(source, IDENTITY).items()
    ours = [study for study, (_, stored) in known if verify_checksum(IDENTITY, stored)["experiment"] == experiment]
    tables = BaseModel.metadata
    numbers = tables.tables["trials"].c
    trials = select(numbers.trial_id).where(numbers.study_id.in_(ours))
    # Serializable is what SQLite gives anyway; of PostgreSQL it makes all reads see one moment.
    reader = source.engine.connect().execution_options(isolation_level="SERIALIZABLE")
    with database_errors(url, f"copy {experiment}"), reader as read, copy.engine.begin() as written:
        for table in tables.sorted_tables:
            if "study_id" in table.c:
                rows = select(table).where(table.c.study_id.in_(ours))
            elif "trial_id" in table.c:
                rows = select(table).where(table.c.trial_id.in_(trials))
            else:
                continue
            for block in read.execute(rows).mappings().partitions(ROWS):
                written.execute(table.insert(), [dict(row) for row in block])
    for storage in (source, copy):
        storage.remove_session()
        storage.engine.dispose()
