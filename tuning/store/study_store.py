"""The study store: everything that came out of every experiment, in an Optuna database that `optuna-dashboard` opens as
it is. One Optuna study per (experiment, strategy, seed), named EXPERIMENT/STRATEGY/seed-N.

In: what a run records through a `StudyWriter`. Out: frozen outcomes. compare, results and train-final start from here:
on another machine, after a crash, while a run still writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml

from trainables.errors import nearest
from trainables.spec import Objective, Value
from tuning.budget import Limit, Price
from tuning.core_yaml import load_yaml, plain_copy
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.outcome.attributes import MIXED
from tuning.spec.store_url import StoreError, masked, sqlite_url
from tuning.store.checksums import verify_checksum
from tuning.store.database import check_sqlite, database_errors, open_database
from tuning.store.layout import IDENTITY, LAYOUT, refuse_other_layout
from tuning.store.statements import attribute_of_studies, set_study_attributes, study_attributes
from tuning.store.study_outcome import study_outcome
from tuning.store.study_writer import StudyWriter
from tuning.store.trial_events import json_params

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from tuning.store.evaluation_ledger import TestRows

__all__ = ["StoreError", "StudyStore", "StudyWriter", "sqlite_url"]


class StudyStore:
    """The database at `url`: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE. Opened at the first use.

    Reading needs a store that is there; `open_study` makes it. Other programs' studies in the database are let be.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._storage: RDBStorage | None = None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self._url)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the study store {self.shown} may hold a password: it is never pickled")

    def experiments(self) -> tuple[str, ...]:
        """The names of all experiments, in order of their first study.

        Raises:
            StoreError: the store cannot be read.
        """
        return tuple(dict.fromkeys(study.identity["experiment"] for study in self._studies()))

    def load(self, experiment: str) -> ExperimentOutcome:
        """All that is recorded of `experiment`.

        Raises:
            StoreError: no such experiment, or the store cannot be read.
        """
        studies = self._studies()
        ours = [study for study in studies if study.identity["experiment"] == experiment]
        if not ours:
            known = dict.fromkeys(study.identity["experiment"] for study in studies)
            hint = nearest(experiment, known) if known else "it holds none"
            raise StoreError(f"experiment {experiment!r}: not in the study store {self.shown}; {hint}")
        with database_errors(self._url, f"read {experiment}"):
            attributes = [study_attributes(self._open(), study.id) for study in ours]
            trials = [self._open().get_all_trials(study.id, deepcopy=False) for study in ours]
            identities = [study.identity for study in ours]
            outcomes = tuple(map(study_outcome, identities, attributes, trials))
        return ExperimentOutcome(experiment, ours[0].identity["digest"], outcomes)

    def spec(self, experiment: str) -> str:
        """The resolved spec of `experiment`, as YAML: of one that was extended as its newest study has it.

        Raises:
            StoreError: no such experiment, or the store cannot be read.
        """
        known = next((one for one in reversed(self._studies()) if one.identity["experiment"] == experiment), None)
        if known is None:
            raise StoreError(f"experiment {experiment!r}: not in the study store {self.shown}; `tunefleet ls studies`")
        with database_errors(self._url, f"read the spec of {experiment}"):
            return str(study_attributes(self._open(), known.id)["spec"])

    def test_rows(self, experiment: str) -> TestRows | None:
        """The test rows of `experiment`; None where nothing is recorded of them, by an older version for one.

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
        new: bool = False,
    ) -> StudyWriter:
        """Create the study, or open it again for a resume; from now on it is running. Makes the store if needed.

        Args:
            digest: of the spec; all studies of an experiment share it.
            strategy, kind: the strategy's label and its plug-in.
            slots, devices_per_trial, device: what the study holds: cost is wall seconds x slots x devices.
            attributes: what else is to be known of it.
            made_with: versions of the libraries, digests of the code; attributes, too. Of a study that goes on with
                others both are recorded, in the attribute `mixed`.
            limit, price: of the experiment's budget.
            spec_yaml: the resolved spec, for people, and to name what differs when a resume is refused.
            new: the run is no resume, so it may not go on in a study of another run.

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
        }
        with database_errors(self._url, f"open {name}"):
            study_id, created = _find_or_create(storage, name, objective.mode)
            if new and not created:
                raise StoreError(
                    f"experiment {experiment!r}: another run has recorded {name} in {self.shown}; choose another name "
                    "(name=...), `tunefleet resume` where that run's folder is, or, if nobody needs what is recorded, "
                    f"`tunefleet rm {experiment} --store URL`"
                )
            known = (one.identity["attributes"] for one in self._studies() if one.name == name)
            if mixed := _mixed(next(known, {}), made_with or {}):
                described[MIXED] = mixed
            own = {"spec": spec_yaml, "state": StudyState.RUNNING.value, IDENTITY: identity}
            set_study_attributes(storage, study_id, own)
        return StudyWriter(storage, study_id, name, objective.metric, objective.mode)

    def writer(self, experiment: str, study: StudyOutcome) -> StudyWriter:
        """The writer of a study that was loaded, its state unchanged: for a test score after its end.

        Raises:
            StoreError: no such study.
        """
        name = optuna_study_name(experiment, study.strategy, study.seed)
        stored = next((s for s in self._studies() if s.name == name), None)
        if stored is None:
            raise StoreError(f"study {name}: not in the study store {self.shown}")
        return StudyWriter(self._open(), stored.id, name, study.metric, study.mode)

    def remove(self, experiment: str) -> None:
        """Take all studies of `experiment` out of the database; other experiments' are let be. Unknown: nothing.

        Raises:
            StoreError: the store cannot be read or written.
        """
        ours = [study for study in self._studies() if study.identity["experiment"] == experiment]
        with database_errors(self._url, f"remove {experiment}"):
            for study in ours:
                self._open().delete_study(study.id)

    def check(self) -> None:
        """Look through the whole of a SQLite file for damage, before anything is added to it; make it if there is none.

        Raises:
            StoreError: it is damaged, no database, or cannot be made.
        """
        check_sqlite(self._url)
        self._open(create=True)

    def close(self) -> None:
        """Let the connections go."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _open(self, *, create: bool = False) -> RDBStorage:
        if self._storage is None:
            self._storage = open_database(self._url, create=create)
        return self._storage

    def _studies(self) -> list[_Known]:
        """Our studies, in order of creation."""
        storage = self._open()
        with database_errors(self._url, "list the studies"):
            known = attribute_of_studies(storage, IDENTITY)
            for name, stored in known.values():
                refuse_other_layout(name, stored, self.shown)
            return [_Known(i, name, verify_checksum(IDENTITY, stored)) for i, (name, stored) in known.items()]

    def refuse_other_spec(self, experiment: str, digest: str, spec_yaml: str) -> None:
        """Look whether what is recorded of `experiment` is of this spec, in all that decides results.

        Raises:
            StoreError: it is not; which keys differ.
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
                    "resume it with the spec that it was started with, begin anew with `tunefleet run --fresh`, which "
                    "removes what is recorded, or choose another name (name=...)"
                )


class _Known(NamedTuple):
    """A study of ours in the database."""

    id: int
    name: str
    identity: dict[str, Any]  # what `open_study` wrote last, and whole


def optuna_study_name(experiment: str, strategy: str, seed: int) -> str:
    """As Optuna and its dashboard know the study."""
    return f"{experiment}/{strategy}/seed-{seed}"


def _find_or_create(storage: RDBStorage, name: str, mode: str) -> tuple[int, bool]:
    """The study's id, and whether it is new. Of two processes that try at the same moment one makes it."""
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
    try:
        return storage.create_new_study([direction], name), True
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name), False


def _mixed(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """What the study has been made with, where that is more than one thing."""
    changed = [
        f"{name} {before[name]}, then {value}" for name, value in now.items() if before.get(name, value) != value
    ]
    return "; ".join(filter(None, (before.get(MIXED), *changed)))


def differing_keys(recorded: str, now: str, *, apart_from: str = "") -> str:
    """': epochs, space.learning_rate differ', of two specs as YAML; empty if none but the key `apart_from` does.

    Raises:
        ValueError: one of them is no YAML.
    """
    try:
        old, new = _flat(plain_copy(load_yaml(recorded))), _flat(plain_copy(load_yaml(now)))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    keys = sorted(key for key in (old.keys() | new.keys()) - {apart_from} if old.get(key) != new.get(key))
    return f": {', '.join(keys[:5])}{' and more' if len(keys) > 5 else ''} differ" if keys else ""


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{path}.{key}" if path else str(key))
    return flat or ({path: value} if path else {})
