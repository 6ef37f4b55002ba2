"""The study store: the results of all experiments in an Optuna database, which `optuna-dashboard` can open.

It holds one Optuna study per (experiment, strategy, seed), named EXPERIMENT/STRATEGY/seed-N. A run records through a
`StudyWriter`; readers get frozen outcomes. `compare`, `results` and `train-final` start from here, also on another
machine, after a crash, or while a run still writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from trainables.errors import nearest
from trainables.spec import Goal, Objective, Value
from tuning.budget import Limit, Price
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.outcome.attributes import MIXED
from tuning.spec.store_url import StoreError, masked, sqlite_url
from tuning.store.checksums import verify_checksum
from tuning.store.database import check_sqlite, database_errors, open_database
from tuning.store.layout import IDENTITY, LAYOUT, refuse_other_layout
from tuning.store.resumable_study import ResumableStudy
from tuning.store.spec_diff import differing_keys
from tuning.store.statements import attribute_of_studies, set_study_attributes, study_attributes
from tuning.store.study_outcome import study_outcome
from tuning.store.study_writer import StudyWriter
from tuning.store.trial_events import json_params

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from tuning.store.evaluation_ledger import TestRows

__all__ = ["StoreError", "StudyStore", "StudyWriter", "sqlite_url"]


class StudyStore:
    """The studies of all experiments in the database at `url`, which is opened at the first use.

    Reading needs an existing store; `open_study` creates it. Studies of other programs in the database are not touched.
    """

    def __init__(self, url: str) -> None:
        """
        Args:
            url: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE.
        """
        self._url = url
        self._storage: RDBStorage | None = None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self._url)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the study store {self.shown} may hold a password, so it is never pickled")

    def experiments(self) -> tuple[str, ...]:
        """Returns the names of all experiments, in order of their first study.

        Raises:
            StoreError: the store cannot be read.
        """
        return tuple(dict.fromkeys(study.identity["experiment"] for study in self._studies()))

    def load(self, experiment: str) -> ExperimentOutcome:
        """Loads the outcome of `experiment`.

        Raises:
            StoreError: no such experiment, or the store cannot be read.
        """
        studies = self._studies()
        ours = [study for study in studies if study.identity["experiment"] == experiment]
        if not ours:
            names = dict.fromkeys(study.identity["experiment"] for study in studies)
            hint = nearest(experiment, names) if names else "it holds none"
            raise StoreError(f"experiment {experiment!r}: not in the study store {self.shown}; {hint}")
        with database_errors(self._url, f"read {experiment}"):
            attributes = [study_attributes(self._open(), study.id) for study in ours]
            trials = [self._open().get_all_trials(study.id, deepcopy=False) for study in ours]
            identities = [study.identity for study in ours]
            outcomes = tuple(map(study_outcome, identities, attributes, trials))
        return ExperimentOutcome(experiment, ours[0].identity["digest"], outcomes)

    def recorded(self, experiment: str) -> tuple[ResumableStudy, ...]:
        """Returns the studies of `experiment` with all that a resume needs; () if nothing is recorded of it yet.

        Raises:
            StoreError: the store cannot be read.
        """
        found = self.load(experiment).studies if experiment in self.experiments() else ()
        return tuple(self._recorded(experiment, study) for study in found)

    def _recorded(self, experiment: str, study: StudyOutcome) -> ResumableStudy:
        writer = self.writer(experiment, study)
        return ResumableStudy(study, writer.event_counts(), writer.interrupted_at, writer.stopped_for_failures)

    def spec(self, experiment: str) -> str:
        """Returns the resolved spec of `experiment` as YAML, in the version of its newest study.

        Raises:
            StoreError: no such experiment, or the store cannot be read.
        """
        newest = next((one for one in reversed(self._studies()) if one.identity["experiment"] == experiment), None)
        if newest is None:
            raise StoreError(f"experiment {experiment!r}: not in the study store {self.shown}; `tunefleet ls studies`")
        with database_errors(self._url, f"read the spec of {experiment}"):
            return str(study_attributes(self._open(), newest.id)["spec"])

    def test_rows(self, experiment: str) -> TestRows | None:
        """Returns the test rows of `experiment`; None if they are not recorded, for example by an older version.

        Raises:
            StoreError: the store cannot be read.
        """
        from tuning.store.evaluation_ledger import TestRows

        ours = [study for study in self._studies() if study.identity["experiment"] == experiment]
        with database_errors(self._url, f"read the test rows of {experiment}"):
            stored = (study_attributes(self._open(), study.id).get("test_rows") for study in ours)
            found = next((rows for rows in stored if rows is not None), None)
        return None if found is None else TestRows.from_json(found)

    def open_study(
        self,
        *,
        experiment: str,
        digest: str,
        strategy: str,
        kind: str,
        seed: int,
        objective: Objective,
        slots: int,
        devices_per_trial: float,
        device: str,
        attributes: Mapping[str, Value],
        spec_yaml: str,
        made_with: Mapping[str, str] | None = None,
        limit: Limit | None = None,
        price: Price | None = None,
        goal: Goal | None = None,
        new: bool = False,
    ) -> StudyWriter:
        """Creates the study, or opens it again for a resume, and marks it as running. Creates the store if needed.

        Args:
            experiment: its name.
            digest: of the spec; all studies of an experiment share it.
            strategy: the strategy's label.
            kind: the strategy's plug-in.
            seed: of the search.
            objective: the metric and its direction.
            slots: number of trials that may run at once.
            devices_per_trial: devices of a slot; the cost is wall seconds x slots x devices.
            device: "GPU" or "CPU core".
            attributes: other attributes to record.
            spec_yaml: the resolved spec, for people, and to name the differing keys when a resume is refused.
            made_with: versions of the libraries and digests of the code, recorded as attributes. If a resumed study has
                other ones, the attribute `mixed` records both.
            limit: of the budget.
            price: of the budget.
            goal: several objectives; None: there is one.
            new: the run is no resume, so the study must not exist yet.

        Raises:
            StoreError: the experiment was recorded under another spec, or (`new`) by another run; or the store cannot
                be made or written.
        """
        storage = self._open(create=True)
        name = optuna_study_name(experiment, strategy, seed)
        self.refuse_other_spec(experiment, digest, spec_yaml)
        described = {**json_params(attributes), **(made_with or {})}
        identity = {
            "layout": LAYOUT,
            "experiment": experiment,
            "digest": digest,
            "strategy": strategy,
            "kind": kind,
            "seed": seed,
            "metric": objective.metric,
            "mode": objective.mode,
            "slots": slots,
            "devices_per_trial": devices_per_trial,
            "device": device,
            "attributes": described,
            "limit": limit,
            "price": asdict(price) if price else None,
            **({} if goal is None else {"goal": goal.model_dump(mode="json")}),
        }
        with database_errors(self._url, f"open {name}"):
            study_id, created = _find_or_create(storage, name, objective.mode)
            if new and not created:
                raise StoreError(
                    f"experiment {experiment!r}: another run has recorded {name} in {self.shown}; choose another name "
                    "(name=...), `tunefleet resume` where that run's folder is, or, if nobody needs what is recorded, "
                    f"`tunefleet rm {experiment} --store URL`"
                )
            before = (one.identity["attributes"] for one in self._studies() if one.name == name)
            if mixed := _mixed(next(before, {}), made_with or {}):
                described[MIXED] = mixed
            own = {"spec": spec_yaml, "state": StudyState.RUNNING.value, IDENTITY: identity}
            set_study_attributes(storage, study_id, own)
        return StudyWriter(storage, study_id, name, objective.metric, objective.mode)

    def writer(self, experiment: str, study: StudyOutcome) -> StudyWriter:
        """Opens a writer for a loaded study without changing its state, for example to add a test score.

        Raises:
            StoreError: no such study.
        """
        name = optuna_study_name(experiment, study.strategy, study.seed)
        stored = next((s for s in self._studies() if s.name == name), None)
        if stored is None:
            raise StoreError(f"study {name}: not in the study store {self.shown}")
        return StudyWriter(self._open(), stored.id, name, study.metric, study.mode)

    def remove(self, experiment: str) -> None:
        """Deletes all studies of `experiment` from the database. Does nothing for an unknown experiment.

        Raises:
            StoreError: the store cannot be read or written.
        """
        ours = [study for study in self._studies() if study.identity["experiment"] == experiment]
        with database_errors(self._url, f"remove {experiment}"):
            for study in ours:
                self._open().delete_study(study.id)

    def check(self) -> None:
        """Checks a whole SQLite file for damage before a run adds to it. Creates the file if it is missing.

        Raises:
            StoreError: the file is damaged, no database, or cannot be created.
        """
        check_sqlite(self._url)
        self._open(create=True)

    def close(self) -> None:
        """Closes the connections."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _open(self, *, create: bool = False) -> RDBStorage:
        if self._storage is None:
            self._storage = open_database(self._url, create=create)
        return self._storage

    def _studies(self) -> list[_StoredStudy]:
        """Returns our studies, in order of creation."""
        storage = self._open()
        with database_errors(self._url, "list the studies"):
            identities = attribute_of_studies(storage, IDENTITY)
            for name, stored in identities.values():
                refuse_other_layout(name, stored, self.shown)
            return [
                _StoredStudy(i, name, verify_checksum(IDENTITY, stored)) for i, (name, stored) in identities.items()
            ]

    def refuse_other_spec(self, experiment: str, digest: str, spec_yaml: str) -> None:
        """Checks that `experiment` was recorded under this spec, as far as results depend on it.

        Args:
            experiment: its name.
            digest: of the spec.
            spec_yaml: the resolved spec, to name the keys that differ.

        Raises:
            StoreError: it was recorded under another spec.
        """
        for study in self._studies():
            recorded = study.identity
            if recorded["experiment"] == experiment and recorded["digest"] != digest:
                with database_errors(self._url, f"read {study.name}"):
                    attributes = study_attributes(self._open(), study.id)
                differing = differing_keys(attributes.get("spec", ""), spec_yaml, apart_from="cluster.storage")
                raise StoreError(
                    f"experiment {experiment!r}: recorded in {self.shown} under another spec "
                    f"(digest {recorded['digest']}, now {digest}){differing}; "
                    "resume it with the spec that it was started with, start again with `tunefleet run --fresh`, which "
                    "removes the recorded results, or choose another name (name=...)"
                )


class _StoredStudy(NamedTuple):
    """One of our studies in the database."""

    id: int
    name: str
    identity: dict[str, Any]  # the attribute that `open_study` wrote last, verified


def optuna_study_name(experiment: str, strategy: str, seed: int) -> str:
    """Returns the name of a study in Optuna and its dashboard."""
    return f"{experiment}/{strategy}/seed-{seed}"


def _find_or_create(storage: RDBStorage, name: str, mode: str) -> tuple[int, bool]:
    """Returns the study's id and whether it is new. If two processes race, one of them creates it."""
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
    try:
        return storage.create_new_study([direction], name), True
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name), False


def _mixed(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """Describes changes of versions since the study was recorded; empty if there are none."""
    changed = [
        f"{name} {before[name]}, then {value}" for name, value in now.items() if before.get(name, value) != value
    ]
    return "; ".join(filter(None, (before.get(MIXED), *changed)))
