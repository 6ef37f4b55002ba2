"""Evaluations on the test split: each is written into the ledger before its score is computed, and counted with it.

In: an experiment's spec and its studies. Out: ids of evaluations, entries in the machine's ledger, and what earlier
experiments have done with the same test rows. An experiment carries its own evaluations in its store, with the hashes
of its test rows. So they go where it goes (a copy, a fetch, a resume on another machine), and a ledger that does not
have them yet receives them.

`record_evaluations` is called before each kind of score: that of a search (`test_scoring`), of confirmations
(`confirm`), of a final model (`train_final`, and `reveal` for a hidden one). `tuning.experiment` and
`tuning.remote.fetching` bring a ledger up to date.
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
    """Return the ledger beside the run folder of `spec`; for a run in a bucket, this machine's ledger."""
    return EvaluationLedger(spec.run_folder.parent)


def evaluation_id(name: str, study: StudyOutcome, model: str) -> str:
    """Return the id of one model's evaluation on the test split, the same in every run.

    Args:
        name: of the experiment.
        model: which of the study's models it is.
    """
    return f"{name}/{study_name(study.strategy, study.seed)}/{model}"


def search_evaluation_id(name: str, study: StudyOutcome, trial: str, epoch: float) -> str:
    """Return the evaluation id of the model that a search has chosen."""
    return evaluation_id(name, study, f"{trial}@{epoch:g}")


def confirmation_evaluation_id(name: str, study: StudyOutcome, one: Confirmation) -> str:
    """Return the evaluation id of a model that was trained to confirm a configuration."""
    return evaluation_id(name, study, f"{one.trial}@{one.epoch:g}/{one.seed}")


def final_evaluation_id(name: str, study: StudyOutcome, model: FinalModel) -> str:
    """Return the evaluation id of a model that `train-final` has trained."""
    return evaluation_id(name, study, f"final/{model.trial}@{model.epoch:g}/{model.seed}/{model.time}")


def evaluation_ids(name: str, studies: Iterable[StudyOutcome]) -> list[str]:
    """Return the ids of the evaluations that are recorded, by their scores, in the studies of the experiment `name`."""
    return [one for study in studies for one in _evaluation_ids(name, study)]


def _evaluation_ids(name: str, study: StudyOutcome) -> Iterator[str]:
    if study.test is not None:
        yield search_evaluation_id(name, study, study.test.trial, study.test.epoch)
    yield from (search_evaluation_id(name, study, one.trial, one.epoch) for one in study.front_tests)
    yield from (confirmation_evaluation_id(name, study, one) for one in study.confirmations if one.test is not None)
    yield from (final_evaluation_id(name, study, model) for model in study.finals if model.metrics)


def record_evaluations(spec: ExperimentSpec, store: StudyStore, ids: Iterable[str]) -> None:
    """Write evaluations into the ledger. Call it before their scores can be seen.

    Nothing is written of a trainable whose rows are not known: a Trainer of the user's own, a closed-form curve.

    Raises:
        StoreError: the ledger cannot be written, or the store not be read.
    """
    if (rows := store.test_rows(spec.name)) is not None:
        ledger_of(spec).record(spec.name, rows, list(ids))


def record_test_rows(spec: ExperimentSpec, store: StudyStore, rows: RowHashes) -> None:
    """Record in the store, once per study, which rows the test split has and who has used them before.

    The ledger receives the experiment's evaluations that it does not have yet.

    Raises:
        StoreError: ledger or store cannot be read or written.
    """
    outcome = store.load(spec.name)
    own = evaluation_ids(spec.name, outcome.studies)
    memory = outcome.test_memory or other_evaluations(spec, rows, own)
    for study in outcome.studies:
        if study.test_memory is None:
            store.writer(spec.name, study).set_test_rows(TestRows.of(rows.test).to_json(), memory)
    record_evaluations(spec, store, own)


def refuse_other_test_rows(spec: ExperimentSpec, store: StudyStore, rows: RowHashes) -> None:
    """Check that the test rows are those that the experiment has recorded: scores on others would be no pairs.

    Raises:
        InputError: they are others.
        StoreError: the store cannot be read.
    """
    known, now = store.test_rows(spec.name), TestRows.of(rows.test)
    if known is not None and known.digest != now.digest:
        rule = f"the test rows have changed since the experiment began ({known.count:,} rows then, {now.count:,} now)"
        raise InputError("data", spec.name, rule, "bring the old data back, or begin another experiment (name=...)")


def lacks_test_rows(spec: ExperimentSpec, store: StudyStore) -> bool:
    """True if a model is still to be scored on test rows of which nothing is recorded, as by an older version.

    Raises:
        StoreError: the store cannot be read.
    """
    studies = store.load(spec.name).studies
    return (
        spec.test
        and not all(list(_evaluation_ids(spec.name, study)) for study in studies)
        and not any(study.test_memory for study in studies)
    )


def other_evaluations(spec: ExperimentSpec, rows: RowHashes, own: Sequence[str] = ()) -> EarlierEvaluations:
    """Return what others have done so far with the rows of `spec`.

    Args:
        rows: hashes of the rows of all splits.
        own: ids of evaluations that do not count.

    Raises:
        StoreError: the ledger cannot be read.
    """
    return ledger_of(spec).find_overlap(TestRows.of(rows.test), TestRows.whole(rows.trained), own)


def known_evaluations(spec: ExperimentSpec, store: StudyStore, own: Sequence[str]) -> EarlierEvaluations | None:
    """Return who else has evaluated on the test rows of `spec` so far; None where those rows are not known.

    Raises:
        StoreError: ledger or store cannot be read.
    """
    rows = store.test_rows(spec.name)
    return None if rows is None else ledger_of(spec).find_overlap(rows, own=own)
