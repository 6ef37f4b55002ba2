"""Looks at the test split: written into the ledger before a score is computed, and counted for whoever reads a score.

An experiment carries its own in its store: the models that were scored, and the hashes of its test rows. So they go
where it goes (a copy, a fetch, a resume on another machine), and a ledger that has not got them is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from trainables.data.row_hashes import RowHashes
from trainables.errors import InputError
from tuning.outcome import Confirmation, FinalModel, StudyOutcome
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.spec.models import ExperimentSpec, study_name
from tuning.store.evaluation_ledger import EvaluationLedger, TestRows

if TYPE_CHECKING:
    from tuning.store.study_store import StudyStore


def ledger_of(spec: ExperimentSpec) -> EvaluationLedger:
    """The ledger of the place where the run folder of `spec` lies; of a run in a bucket this machine's."""
    return EvaluationLedger(spec.run_folder.parent)


def look_of(name: str, study: StudyOutcome, model: str) -> str:
    """The name of one model's look at test, in the experiment `name`: the same whenever it is told again."""
    return f"{name}/{study_name(study.strategy, study.seed)}/{model}"


def look_of_search(name: str, study: StudyOutcome, trial: str, epoch: float) -> str:
    """Of the model that a search has chosen."""
    return look_of(name, study, f"{trial}@{epoch:g}")


def look_of_confirmation(name: str, study: StudyOutcome, one: Confirmation) -> str:
    """Of a model that was trained to confirm a configuration."""
    return look_of(name, study, f"{one.trial}@{one.epoch:g}/{one.seed}")


def look_of_final(name: str, study: StudyOutcome, model: FinalModel) -> str:
    """Of a model that `train-final` has trained."""
    return look_of(name, study, f"final/{model.trial}@{model.epoch:g}/{model.seed}/{model.time}")


def looks_of(name: str, studies: Iterable[StudyOutcome]) -> list[str]:
    """The looks that the studies of the experiment `name` tell of, by their scores."""
    return [look for study in studies for look in _looks_of(name, study)]


def _looks_of(name: str, study: StudyOutcome) -> Iterator[str]:
    if study.test is not None:
        yield look_of_search(name, study, study.test.trial, study.test.epoch)
    yield from (look_of_confirmation(name, study, one) for one in study.confirmations if one.test is not None)
    yield from (look_of_final(name, study, model) for model in study.finals if model.metrics)


def record_looks(spec: ExperimentSpec, store: StudyStore, looks: Iterable[str]) -> None:
    """Write `looks` into the ledger: from now on they have happened. Call it before the score can be seen.

    Nothing is written of a trainable whose rows are not known: a Trainer of the user's own, a closed-form curve.

    Raises:
        StoreError: the ledger cannot be written, or the store not be read.
    """
    if (rows := store.test_rows(spec.name)) is not None:
        ledger_of(spec).record(spec.name, rows, list(looks))


def remember_rows(spec: ExperimentSpec, store: StudyStore, rows: RowHashes) -> None:
    """Record in the store which rows the test split has, and what earlier experiments have to do with them, once per
    study; and tell the ledger of looks that it has not got.

    Raises:
        StoreError: ledger or store cannot be read or written.
    """
    outcome = store.load(spec.name)
    own = looks_of(spec.name, outcome.studies)
    memory = outcome.test_memory or others_looked(spec, rows, own)
    for study in outcome.studies:
        if study.test_memory is None:
            store.writer(spec.name, study).set_test_rows(TestRows.of(rows.test).to_json(), memory)
    record_looks(spec, store, own)


def refuse_other_rows(spec: ExperimentSpec, store: StudyStore, rows: RowHashes) -> None:
    """Look whether the test rows are those that the experiment has recorded: scores on others would be no pairs.

    Raises:
        InputError: they are not.
        StoreError: the store cannot be read.
    """
    known, now = store.test_rows(spec.name), TestRows.of(rows.test)
    if known is not None and known.digest != now.digest:
        rule = f"the test rows have changed since the experiment began ({known.count:,} rows then, {now.count:,} now)"
        raise InputError("data", spec.name, rule, "bring the old data back, or begin another experiment (name=...)")


def unknown_rows_are_due(spec: ExperimentSpec, store: StudyStore) -> bool:
    """True if a model is still to be scored on test rows of which nothing is recorded, as by an older version.

    Raises:
        StoreError: the store cannot be read.
    """
    studies = store.load(spec.name).studies
    return (
        spec.test
        and not all(list(_looks_of(spec.name, study)) for study in studies)
        and not any(study.test_memory for study in studies)
    )


def others_looked(spec: ExperimentSpec, rows: RowHashes, own: Sequence[str] = ()) -> EarlierEvaluations:
    """What is known now of the rows of `spec`, apart from the looks `own`.

    Raises:
        StoreError: the ledger cannot be read.
    """
    return ledger_of(spec).find_overlap(TestRows.of(rows.test), TestRows.whole(rows.trained), own)


def earlier_looks(spec: ExperimentSpec, store: StudyStore, own: Sequence[str]) -> EarlierEvaluations | None:
    """Who else has looked by now at the test rows of `spec`; None where those are not known.

    Raises:
        StoreError: ledger or store cannot be read.
    """
    rows = store.test_rows(spec.name)
    return None if rows is None else ledger_of(spec).find_overlap(rows, own=own)
