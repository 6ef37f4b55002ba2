"""What is recorded of a study as a whole: attributes of Optuna's study, which may change when its trials have ended."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
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
    """Of one study, read and written. Each method's change is on disk when it returns."""

    def __init__(self, storage: RDBStorage, study_id: int, name: str) -> None:
        self.name = name
        self._storage, self._study_id = storage, study_id
        with self._told("read what is recorded"):
            attributes = study_attributes(storage, study_id)
        self._provenance: dict[str, Value] = dict(attributes.get("provenance", {}))
        self._last_sign, self._ended = last_sign_of_life(attributes)
        self._stopped_for_failures = bool(attributes.get("stopped_for_failures", False))
        self._names = str(attributes.get("names", ""))  # where the trials' ids come from
        self._node_losses: list[list[Value]] = list(attributes.get("node_losses", []))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the writer of {self.name} holds a connection and maybe a password: it is never pickled")

    @property
    def stopped_for_failures(self) -> bool:
        """Whether the run has stopped, or the one before, because the trials had failed alike: they run again."""
        return self._stopped_for_failures

    @stopped_for_failures.setter
    def stopped_for_failures(self, stopped: bool) -> None:
        if stopped != self._stopped_for_failures:
            self._set("stopped_for_failures", stopped)
            self._stopped_for_failures = stopped

    def name_trial(self, number: int) -> str:
        """The id of the study's trial of that number (0, 1, ...): the same one in every run, and no other study's."""
        if not self._names:
            self._names = uuid.uuid4().hex
            self._set("names", self._names)
        return uuid.uuid5(uuid.UUID(self._names), str(number)).hex[:8]

    def note(self, provenance: Mapping[str, Value]) -> None:
        """What the trials' scores rest on, as a worker found it; told with every report, written when it is new.

        Raises:
            StoreError: the data are not those of the study's earlier trials; their scores would not compare.
        """
        before, now = (p.get("data_fingerprint") for p in (self._provenance, provenance))
        if None not in (before, now) and before != now:
            raise StoreError(
                f"{self.name}: the data have changed (fingerprint {before} before, {now} now); "
                "bring the old ones back, or start under another name"
            )
        if new := {name: value for name, value in provenance.items() if name not in self._provenance}:
            self._provenance |= new
            self._set("provenance", self._provenance)

    def set_data(self, summary: DataSummary) -> None:
        """Record the summary of the study's data, as they were before its trials."""
        self._set("data", summary.model_dump(mode="json"))

    def set_test_rows(self, rows: Mapping[str, Any], memory: EarlierEvaluations) -> None:
        """Record which rows the test split has, as `TestRows.to_json` writes them, and what earlier experiments have to
        do with the study's rows."""
        self._set_all({"test_rows": rows, "test_memory": asdict(memory)})

    def set_test(self, score: TestScore) -> None:
        """The one look at the test split."""
        self._set("test", encode_test(score))

    def set_confirmations(self, *confirmations: Confirmation) -> None:
        """Trainings of the study's best configurations, all in one transaction. One of the same rank and seed is
        replaced: by itself, with its test score."""
        attributes = {confirmation_key(one): encode_confirmation(one) for one in confirmations}
        with self._told("write confirmations"):
            set_study_attributes(self._storage, self._study_id, attributes)

    def begin_final(self) -> None:
        """Record that the training of a final model begins, which ends with a look at the test split."""
        self._set("final_begun", clock.time())

    def add_final(self, model: FinalModel) -> None:
        """A model was trained of the study's configuration. Told again, with its score, it is replaced."""
        with self._told("read the final models"):
            before = study_attributes(self._storage, self._study_id).get("finals", [])
        place = next((i for i, one in enumerate(before) if decode_finals([one])[0].same_as(model)), len(before))
        self._set("finals", [*before[:place], encode_final(model), *before[place + 1 :]])

    def add_loss(self, loss: NodeLoss) -> None:
        """A trial goes on elsewhere."""
        self._node_losses.append([loss.trial, loss.node, loss.reported, loss.epoch, loss.time])
        self._set("node_losses", self._node_losses)

    @property
    def cut_off(self) -> float | None:
        """The last sign of the run before, in seconds since 1970 (UTC), where that run never said that it had ended."""
        return None if self._ended else self._last_sign

    def hold(self, held: ResourceUsage, *, ended: bool = False) -> None:
        """Record what the study has held up to now, in all its runs.

        Args:
            ended: the run says good-bye: it holds nothing any more.
        """
        wall_seconds, slot_seconds, device_seconds, time = held
        self._set_all(
            {
                "wall_seconds": wall_seconds,
                "slot_seconds": slot_seconds,
                "device_seconds": device_seconds,
                "last_sign": [time, ended],
            }
        )

    def reach_limit(self) -> None:
        """The study's budget is spent: from now on its trials are ended, also in a later run."""
        self._set("limit_reached", True)

    def _set(self, name: str, value: Any) -> None:
        self._set_all({name: value})

    def _set_all(self, values: Mapping[str, Any]) -> None:
        with self._told(f"write {', '.join(values)}"):
            set_study_attributes(self._storage, self._study_id, values)

    def _told(self, action: str) -> AbstractContextManager[None]:
        return database_errors(self._storage.url, f"{action} in {self.name}")


def last_sign_of_life(attributes: Mapping[str, Any]) -> tuple[float | None, bool]:
    """The last sign of the study's newest run, in seconds since 1970 (UTC), and whether the run then said that it had
    ended. None where nothing is recorded of it, by an older version for one."""
    time, ended = attributes.get("last_sign", (None, True))
    return time, bool(ended)
