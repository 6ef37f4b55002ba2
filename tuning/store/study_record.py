"""Reads and writes the records of a study as a whole: attributes of the Optuna study. They may change after its end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from trainables.machine import clock
from trainables.spec import Value
from trainables.tasks.summary import DataSummary
from tuning.budget import ResourceUsage
from tuning.outcome import Confirmation, FinalModel, NodeLoss, TestScore
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.spec.store_url import StoreError
from tuning.store.database import database_errors
from tuning.store.selection_records import (
    confirmation_key,
    decode_finals,
    encode_confirmation,
    encode_final,
    encode_test,
)
from tuning.store.statements import set_study_attributes, study_attributes

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class StudyRecord:
    """The records of one study as a whole. A change is on disk when the method returns."""

    def __init__(self, storage: RDBStorage, study_id: int, name: str) -> None:
        """
        Args:
            storage: the open database.
            study_id: Optuna's id of the study.
            name: Optuna's name of the study.
        """
        self.name = name
        self._storage, self._study_id = storage, study_id
        with self._database_errors("read what is recorded"):
            attributes = study_attributes(storage, study_id)
        self._provenance: dict[str, Value] = dict(attributes.get("provenance", {}))
        self._last_sign, self._ended = last_sign_of_life(attributes)
        self._stopped_for_failures = bool(attributes.get("stopped_for_failures", False))
        self._names = str(attributes.get("names", ""))  # the UUID from which the trials' ids are derived
        self._node_losses: list[list[Value]] = list(attributes.get("node_losses", []))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the writer of {self.name} holds a connection and perhaps a password, so it is never pickled")

    @property
    def stopped_for_failures(self) -> bool:
        """True if this run or the one before stopped because trials failed with the same error; they run again."""
        return self._stopped_for_failures

    @stopped_for_failures.setter
    def stopped_for_failures(self, stopped: bool) -> None:
        if stopped != self._stopped_for_failures:
            self._set("stopped_for_failures", stopped)
            self._stopped_for_failures = stopped

    def name_trial(self, number: int) -> str:
        """Returns the id of the trial with that number (0, 1, ...): the same in every run, unique among studies."""
        if not self._names:
            self._names = uuid.uuid4().hex
            self._set("names", self._names)
        return uuid.uuid5(uuid.UUID(self._names), str(number)).hex[:8]

    def record_provenance(self, provenance: Mapping[str, Value]) -> None:
        """Records what the trials' scores depend on, such as the data's fingerprint. Writes only what is new.

        Raises:
            StoreError: the data differ from those of earlier trials, so scores would not compare.
        """
        before, now = (p.get("data_fingerprint") for p in (self._provenance, provenance))
        if None not in (before, now) and before != now:
            raise StoreError(
                f"{self.name}: the data have changed (fingerprint {before} before, {now} now); "
                "restore the old data, or start under another name"
            )
        if new := {name: value for name, value in provenance.items() if name not in self._provenance}:
            self._provenance |= new
            self._set("provenance", self._provenance)

    def set_data(self, summary: DataSummary) -> None:
        """Records the summary of the study's data, as they are before its trials."""
        self._set("data", summary.model_dump(mode="json"))

    def set_test_rows(self, rows: Mapping[str, Any], memory: EarlierEvaluations) -> None:
        """Records the test rows, as `TestRows.to_json` returns them, and their overlap with earlier experiments."""
        self._set_all({"test_rows": rows, "test_memory": asdict(memory)})

    def set_test(self, score: TestScore) -> None:
        """Records the test score of the chosen configuration."""
        self._set("test", encode_test(score))

    def set_front_tests(self, scores: Sequence[TestScore]) -> None:
        """Records the test scores of all models on the front of several objectives, together."""
        self._set("front_tests", [encode_test(score) for score in scores])

    def set_confirmations(self, *confirmations: Confirmation) -> None:
        """Records confirmations in one transaction.

        An earlier record with the same rank and seed, which may lack the test score, is replaced.
        """
        attributes = {confirmation_key(one): encode_confirmation(one) for one in confirmations}
        with self._database_errors("write confirmations"):
            set_study_attributes(self._storage, self._study_id, attributes)

    def begin_final(self) -> None:
        """Records that the training of a final model begins, which ends with an evaluation on test."""
        self._set("final_begun", clock.time())

    def add_final(self, model: FinalModel) -> None:
        """Records a final model. The same model without its revealed score is replaced."""
        with self._database_errors("read the final models"):
            before = study_attributes(self._storage, self._study_id).get("finals", [])
        place = next((i for i, one in enumerate(before) if decode_finals([one])[0].same_as(model)), len(before))
        self._set("finals", [*before[:place], encode_final(model), *before[place + 1 :]])

    def add_loss(self, loss: NodeLoss) -> None:
        """Records that a trial lost its node and continues on another one."""
        self._node_losses.append([loss.trial, loss.node, loss.reported, loss.epoch, loss.time])
        self._set("node_losses", self._node_losses)

    @property
    def interrupted_at(self) -> float | None:
        """The last sign of life of the run before if it was killed, in seconds since 1970 (UTC); None if it ended."""
        return None if self._ended else self._last_sign

    def record_usage(self, usage: ResourceUsage, *, ended: bool = False) -> None:
        """Records what the study has used up to now, over all its runs.

        Args:
            usage: the totals.
            ended: the run ends now and uses nothing more.
        """
        wall_seconds, slot_seconds, device_seconds, time = usage
        self._set_all(
            {
                "wall_seconds": wall_seconds,
                "slot_seconds": slot_seconds,
                "device_seconds": device_seconds,
                "last_sign": [time, ended],
            }
        )

    def reach_limit(self) -> None:
        """Records that the budget is spent: from now on trials are stopped, in later runs too."""
        self._set("limit_reached", True)

    def _set(self, name: str, value: Any) -> None:
        self._set_all({name: value})

    def _set_all(self, values: Mapping[str, Any]) -> None:
        with self._database_errors(f"write {', '.join(values)}"):
            set_study_attributes(self._storage, self._study_id, values)

    def _database_errors(self, action: str) -> AbstractContextManager[None]:
        return database_errors(self._storage.url, f"{action} in {self.name}")


def last_sign_of_life(attributes: Mapping[str, Any]) -> tuple[float | None, bool]:
    """Returns the time of the newest run's last record, in seconds since 1970 (UTC), and whether the run ended then.

    The time is None if nothing is recorded, for example by an older version.
    """
    time, ended = attributes.get("last_sign", (None, True))
    return time, bool(ended)
