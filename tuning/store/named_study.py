"""An Optuna study of the user's own, by its database and name: trials of ours are copied there.

What is recorded of a search stands in the study store, in Optuna studies with names of their own and attributes that
only tunefleet reads. A copy is a plain study: the states of its trials, their values, their intermediate values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainables.errors import InputError, nearest
from tuning.outcome import ExperimentOutcome, StudyOutcome
from tuning.spec.store_url import masked
from tuning.store.database import database_errors, open_database
from tuning.store.study_store import optuna_study_name

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

ORIGIN = "tunefleet"  # the attribute of a copy that names the recorded study and trial


@dataclass(frozen=True)
class NamedStudy:
    """An Optuna study in a database, by its name."""

    url: str  # it may hold a password: never written to a file or a log
    name: str

    def __repr__(self) -> str:
        return f"NamedStudy({masked(self.url)!r}, {self.name!r})"

    def check(self, mode: Literal["max", "min"], *, may_exist: bool) -> None:
        """Check before the search that its trials can be copied there.

        The study itself is not made yet: a search that is refused leaves none behind.

        Args:
            mode: of the search.
            may_exist: an existing study of that name is added to.

        Raises:
            InputError: there is a study of that name, and it may not be; or it has another direction.
            StoreError: the database cannot be opened or made.
        """
        storage = open_database(self.url, create=True)
        if (study := self._id(storage)) is None:
            return
        if not may_exist:
            step = "write load_if_exists=True to add to it, or another study_name"
            raise InputError("study_name", self.name, "there is a study of that name in the storage", step)
        directions = storage.get_study_directions(study)
        if directions != [_direction(mode)]:
            directions_in_words = ", ".join(direction.name.lower() for direction in directions)
            rule = f"the study of that name has the direction {directions_in_words}"
            raise InputError("study_name", self.name, rule, "give another study_name, or the same direction")

    def add(self, outcome: ExperimentOutcome, source: str, studies: Sequence[StudyOutcome] | None = None) -> None:
        """Copy the trials that have ended; one that is there already is not copied again.

        Args:
            outcome: of the experiment.
            source: the URL of the store that it is recorded in.
            studies: of it; None: all.

        Raises:
            StoreError: one of the two databases cannot be read or written.
        """
        storage = open_database(self.url, create=True)
        with database_errors(self.url, f"write the study {self.name}"):
            if (study := self._id(storage)) is None:
                study = storage.create_new_study([_direction(outcome.studies[0].mode)], self.name)
            there = {trial.user_attrs.get(ORIGIN) for trial in storage.get_all_trials(study, deepcopy=False)}
            for recorded in outcome.studies if studies is None else studies:
                name = optuna_study_name(outcome.name, recorded.strategy, recorded.seed)
                for trial in _recorded(source, name):
                    if (origin := f"{name}/{trial.user_attrs['trial_id']}") not in there:
                        storage.create_new_trial(study, _copy(trial, {ORIGIN: origin}))

    def write(self, recorded: StudyOutcome, experiment: str, source: str) -> None:
        """Make the study, with copies of all trials of `recorded` that have ended and without attributes.

        Args:
            recorded: a study of the experiment.
            experiment: its name.
            source: the URL of the store that it is recorded in.

        Raises:
            InputError: there is a study of that name.
            StoreError: one of the two databases cannot be read or written.
        """
        trials = _recorded(source, optuna_study_name(experiment, recorded.strategy, recorded.seed))
        storage = open_database(self.url, create=True)
        with database_errors(self.url, f"read the study {self.name}"):
            exists = self._id(storage) is not None
        if exists:
            rule = f"there is a study of that name in {masked(self.url)}"
            raise InputError("study-name", self.name, rule, "give another --study-name, or another database")
        with database_errors(self.url, f"write the study {self.name}"):
            study = storage.create_new_study([_direction(recorded.mode)], self.name)
            for trial in trials:
                storage.create_new_trial(study, _copy(trial, {}))
        storage.remove_session()
        storage.engine.dispose()

    def trials(self) -> list[FrozenTrial]:
        """Returns all its trials; [] if there is no study of that name.

        Raises:
            StoreError: the database cannot be opened or read.
        """
        storage = open_database(self.url, create=True)
        with database_errors(self.url, f"read the study {self.name}"):
            study = self._id(storage)
            return [] if study is None else storage.get_all_trials(study, deepcopy=False)

    def _id(self, storage: RDBStorage) -> int | None:
        """The number of the study in its database; None: there is no study of that name."""
        try:
            return int(storage.get_study_id_from_name(self.name))
        except KeyError:
            return None


def write_studies(
    outcome: ExperimentOutcome, source: str, url: str, name: str, strategy: str | None = None, seed: int | None = None
) -> list[str]:
    """Write studies of an experiment as Optuna studies into the database at `url`; returns their names.

    A single one has the name `name`; of several each has strategy and seed behind it.

    Args:
        outcome: of the experiment.
        source: the URL of the store that it is recorded in.
        url: of the database to write to, which is made if it is missing; may hold a password.
        name: of the study.
        strategy, seed: which of the studies; None: all of them.

    Raises:
        InputError: there is no such study, or one of that name in the database.
        StoreError: one of the two databases cannot be read or written.
    """
    chosen = [one for one in outcome.studies if strategy in (None, one.strategy) and seed in (None, one.seed)]
    if not chosen:
        known = [f"{one.strategy}, seed {one.seed}" for one in outcome.studies]
        asked = ", ".join(str(one) for one in (strategy, None if seed is None else f"seed {seed}") if one is not None)
        raise InputError("strategy", asked, "the experiment has no such study", nearest(asked, known))
    names = {id(one): name if len(chosen) == 1 else f"{name}-{one.strategy}-seed{one.seed}" for one in chosen}
    for one in chosen:
        NamedStudy(url, names[id(one)]).write(one, outcome.name, source)
    return list(names.values())


def _recorded(source: str, name: str) -> Iterable[FrozenTrial]:
    """The trials of a recorded study that have ended; of one that ran again, its last record."""
    storage = open_database(source, create=False)
    try:
        with database_errors(source, f"read {name}"):
            trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    finally:
        storage.remove_session()
        storage.engine.dispose()
    latest = {trial.user_attrs["trial_id"]: trial for trial in trials}
    return [trial for trial in latest.values() if trial.state.is_finished()]


def _direction(mode: str) -> StudyDirection:
    from optuna.study import StudyDirection

    return StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE


def _copy(trial: FrozenTrial, attributes: dict[str, str]) -> FrozenTrial:
    from optuna.trial import create_trial

    copy = create_trial(
        state=trial.state,
        value=trial.value,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attributes,
        intermediate_values=trial.intermediate_values,
    )
    copy.datetime_start, copy.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copy
