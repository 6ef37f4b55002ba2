"""The Optuna study that a script names by `storage` and `study_name`: it gets a copy of every trial of the search.

What is recorded of a search stands in the same database, in studies with names of their own. A script goes on with the
name that it gave: it loads that study and draws its history, its intermediate values, its importances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from tuning.outcome import ExperimentOutcome
from tuning.spec.models import ExperimentSpec
from tuning.store.database import open_database
from tuning.store.study_store import optuna_study_name

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

ORIGIN = "tunefleet"  # the attribute of a copy that names the recorded study and trial


@dataclass(frozen=True)
class NamedStudy:
    """An Optuna study in a database, by its name."""

    url: str
    name: str

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any], spec: ExperimentSpec) -> NamedStudy | None:
        """The study that the keywords of a search name; None: they name none, or no database."""
        if keywords.get("study_name") is None or keywords.get("storage") is None or spec.store is None:
            return None
        return cls(spec.store, str(keywords["study_name"]))

    def check(self, mode: str, *, may_exist: bool) -> None:
        """Check before the search that its trials can be copied there.

        The study itself is not made yet: a search that is refused leaves none behind.

        Args:
            mode: "max" or "min", as the search has it.
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

    def add(self, outcome: ExperimentOutcome) -> None:
        """Copy the trials that have ended; one that is there already is not copied again."""
        storage = open_database(self.url, create=False)
        if (study := self._id(storage)) is None:
            study = storage.create_new_study([_direction(outcome.studies[0].mode)], self.name)
        there = {trial.user_attrs.get(ORIGIN) for trial in storage.get_all_trials(study, deepcopy=False)}
        for recorded in outcome.studies:
            name = optuna_study_name(outcome.name, recorded.strategy, recorded.seed)
            for trial in storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False):
                origin = f"{name}/{trial.user_attrs['trial_id']}"
                if trial.state.is_finished() and origin not in there:
                    storage.create_new_trial(study, _copy(trial, origin))

    def _id(self, storage: RDBStorage) -> int | None:
        """The number of the study in its database; None: there is no study of that name."""
        try:
            return int(storage.get_study_id_from_name(self.name))
        except KeyError:
            return None


def _direction(mode: str) -> StudyDirection:
    from optuna.study import StudyDirection

    return StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE


def _copy(trial: FrozenTrial, origin: str) -> FrozenTrial:
    from optuna.trial import create_trial

    copy = create_trial(
        state=trial.state,
        value=trial.value,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={ORIGIN: origin},
        intermediate_values=trial.intermediate_values,
    )
    copy.datetime_start, copy.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copy
