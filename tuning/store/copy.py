"""Copies one experiment from a study store to a new SQLite file, for example from the team's database to a laptop.

Rows are copied unchanged from every table that refers to one of its studies or trials.
"""

from __future__ import annotations

from pathlib import Path

from tuning.spec.store_url import sqlite_url
from tuning.store.checksums import verify_checksum
from tuning.store.database import database_errors, open_database
from tuning.store.layout import IDENTITY
from tuning.store.statements import attribute_of_studies
from tuning.store.study_store import StudyStore

ROWS = 1000  # per transfer


def copy_experiment(url: str, experiment: str, target: Path) -> None:
    """Copies the records of `experiment` in the store at `url` into the new SQLite file `target`.

    A run may write at the same time: the copy is a consistent snapshot.

    Raises:
        StoreError: no such experiment, or one of the stores cannot be read or written.
    """
    from optuna.storages._rdb.models import BaseModel
    from sqlalchemy import select

    StudyStore(url).load(experiment)  # raises if the store or the name is wrong
    source, copy = open_database(url, create=False), open_database(sqlite_url(target), create=True)
    identities = attribute_of_studies(source, IDENTITY).items()
    ours = [study for study, (_, stored) in identities if verify_checksum(IDENTITY, stored)["experiment"] == experiment]
    tables = BaseModel.metadata
    numbers = tables.tables["trials"].c
    trials = select(numbers.trial_id).where(numbers.study_id.in_(ours))
    # SQLite is always serializable; in PostgreSQL this level makes all reads see the same moment.
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
