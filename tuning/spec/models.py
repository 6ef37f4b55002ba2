"""The experiment as its user declares it: one training, one search space, several strategies x several seeds.

Frozen pydantic models; `tuning.spec.loading` makes one from YAML. No heavy library is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_serializer,
)

from cluster.spec import ClusterSpec
from cluster.storage import is_uri, join_uri
from trainables.data.cache_folder import cache_folder
from trainables.spec import (
    FINETUNE_FIELDS,
    SCALARISED,
    SHIPPED,
    Epochs,
    FineTuneSpec,
    Frozen,
    Objective,
    Seed,
    modules_of,
)
from tuning.budget import BudgetSpec, Limit
from tuning.space import DeclaredSpace, NamedSpace, Prior, Space
from tuning.spec.file import dump
from tuning.spec.knowledge import EarlierExperiment, Names, Points, knowledge_of
from tuning.spec.known_names import suggest_strategy
from tuning.spec.mistakes import OWN, Mistake, SpecError, mistakes_of
from tuning.spec.strategy_forms import suggest_kind
from tuning.strategies import Strategy, find_strategies
from tuning.tracking.spec import WandbSpec

STORE_VARIABLE = "TUNEFLEET_STORE"
SPEC_FILE, STORE_FILE = "spec.yaml", "study.db"  # in the run folder
STUDIES = "studies"  # in the run folder: one folder per study, which is Tune's
# Where and how visibly an experiment runs, and how it is read; the scores do not depend on it.
NOT_IN_DIGEST = {"name", "cluster", "store", "wandb", "max_failures", "alike_failures", "checkpoint", "budget"} | {
    "expandable_segments",  # how a GPU's memory is divided
    *("baseline", "worthwhile"),  # how the scores are compared
    *("until", "extended"),  # how many seeds there are
    "earlier",  # what `start_from` named when the experiment began
}
# Fields that older specs have not got: unset ones are left out, so that those specs keep their digests.
ADDED = (
    *("hp_space", "in_flight", "verdicts", "until", "extended", "deterministic", "expandable_segments"),
    *("measure", "objectives", "constraints", "scalarisation"),
    *("points", "priors", "start_from", "earlier"),
)


class CheckpointSpec(Frozen):
    """The states of trials that are written; what a PBT donor passes to a clone always is."""

    every_epochs: Epochs | Literal["auto"] | None = Field(
        "auto",
        description="a trial that failed or was interrupted goes on from its last optimizer state, written once in so "
        "many epochs; auto: at a report after five minutes of training or more, where there is room; null: it is "
        "trained again from its start",
    )
    keep_best: PositiveInt = Field(1, description="how many of a study's best weights stay")


class ConfirmSpec(Frozen):
    """The confirmation of a study's winner after the search: the best score of many is lucky as well as good."""

    top: PositiveInt = Field(3, description="so many of a study's best configurations are trained again")
    seeds: PositiveInt = Field(5, description="each with so many training seeds; the best mean validation score wins")


class Extension(Frozen):
    """Seeds or strategies that `tunefleet extend` has added; they follow the earlier ones."""

    seeds: PositiveInt = Field(description="how many there were before")
    strategies: PositiveInt = Field(description="how many there were before")
    judged: bool = Field(description="test scores were there before, so the verdict on them has been seen")


def folder_name(name: str) -> str:
    """Returns `name` itself if a folder can have it.

    Raises:
        ValueError: it is no name for a folder on every system.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("must be letters, digits, '-', '_' and '.', the first a letter or a digit: it names a folder")
    return name


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must name each seed once: a repeated seed is the same study again")
    return seeds


def _or_nothing(raw: object) -> object:
    return {} if raw is None else raw


def _plug_in(raw: object, info: ValidationInfo) -> Strategy:
    """Makes the strategy that `kind` names; it reads all other keys itself."""
    if isinstance(raw, Strategy):
        return raw
    if not isinstance(raw, Mapping):
        raise ValueError("must be a mapping with a `kind`")
    known = find_strategies()
    if "kind" not in raw:
        step = suggest_kind(raw) or f"add one of {', '.join(sorted(known))}"
        raise SpecError([Mistake("kind", "is missing", next_step=step)])
    kind = str(raw["kind"])
    if kind not in known:
        raise SpecError([Mistake("kind", "no such strategy", kind, suggest_strategy(kind, known))])
    try:
        return known[kind].model_validate({key: value for key, value in raw.items() if key != "kind"})
    except ValidationError as error:
        own = bool((info.context or {}).get(OWN))
        raise SpecError(mistakes_of(error, known[kind], root=ExperimentSpec, own=own)) from error


class ExperimentSpec(FineTuneSpec):
    """The full spec of an experiment; a study is one of its strategies with one of its seeds."""

    name: Annotated[str, AfterValidator(folder_name)] = Field(description="of the experiment and of its run folder")
    space: DeclaredSpace = Field(
        Space({}),
        description="what to search: tunable name -> its values; or package.module:function of a trial with suggest_*",
    )
    points: Points = Field(
        (),
        description="configurations that are tried first: {name: value}, the names left out are drawn; recipes: those "
        "that papers recommend for this kind of task",
    )
    priors: dict[str, Prior] = Field(
        {}, description="densities around guesses, by tunable name, in place of uniform ones: {around: 2e-5, factor: 3}"
    )
    start_from: Names = Field(
        (),
        description="earlier experiments, by name or run folder, whose trials a model of the scores learns from; a "
        "strategy without a model begins with their best three configurations",
    )
    earlier: tuple[EarlierExperiment, ...] = Field(
        (), description="the trials of start_from, written when the experiment begins, not for you to set"
    )
    strategies: tuple[Annotated[Strategy, BeforeValidator(_plug_in)], ...] = Field(min_length=1)
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_distinct)] = Field(
        (0,), min_length=1, description="of the search; every strategy runs once per seed"
    )
    budget: Annotated[BudgetSpec, BeforeValidator(_or_nothing)] = Field(
        BudgetSpec(), description="what each study may cost; null: its strategy alone ends it"
    )
    max_failures: NonNegativeInt = Field(
        0, description="how often a failed trial is started again from its checkpoint, where that can help"
    )
    alike_failures: PositiveInt | None = Field(
        3, description="this many first trials of a study that fail alike stop the run; null: it goes on"
    )
    test: bool = Field(True, description="score each study's chosen configuration on the test split, once, at the end")
    confirm: ConfirmSpec | None = Field(
        None,
        description="train the best configurations anew before the test split is scored; null: score the best as is",
    )
    baseline: str | None = Field(
        None,
        description="the strategy that the others are compared with first; null: the one of kind defaults, else the "
        "first",
    )
    worthwhile: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="smallest difference of test scores that matters to you, in the objective's units; null: 0.01 of "
        "a metric in 0..1, else 0; 0: any, so that nothing is ever called equal",
    )
    verdicts: PositiveInt = Field(
        1,
        description="how many are planned, each but the first after `tunefleet extend`; they share the 5 % of error",
    )
    until: Literal["decided"] | None = Field(
        None,
        description="decided: a seed is added after each verdict that leaves a strategy and the baseline undecided, "
        "until all `verdicts` are given",
    )
    extended: tuple[Extension, ...] = Field((), description="written by `tunefleet extend`, not for you to set")
    cluster: ClusterSpec = ClusterSpec()
    store: str | None = Field(
        None, description=f"database URL without a password; null: ${STORE_VARIABLE}, else SQLite in the run folder"
    )
    wandb: WandbSpec = WandbSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @field_serializer("strategies")
    def _with_kind(self, strategies: tuple[Strategy, ...]) -> list[dict[str, Any]]:
        return [{"kind": strategy.kind, **strategy.model_dump(mode="json")} for strategy in strategies]

    @property
    def verdict_number(self) -> int:
        """The number of the verdict that the searches come to: 1, and one more for each extension after a verdict."""
        return 1 + sum(extension.judged for extension in self.extended)

    @property
    def run_folder(self) -> Path:
        """The absolute folder that holds all that this experiment writes; for a run in a bucket, the driver's own."""
        storage = self.cluster.storage
        return working_folder(storage, self.name) if is_uri(storage) else self.cluster.run_folder(self.name)

    @property
    def resumed_as(self) -> str:
        """The argument for `tunefleet resume`: the name, if that is enough from here, else the run folder or URI."""
        if is_uri(self.cluster.storage):
            return join_uri(self.cluster.storage, self.name)
        by_name = self.run_folder == ClusterSpec().run_folder(self.name)
        return self.name if by_name else shlex.quote(str(self.run_folder))

    @property
    def store_url(self) -> str:
        """The URL of the study store. It may hold a password: never write it to a file or a log."""
        from tuning.spec.store_url import sqlite_url

        return self.store or os.environ.get(STORE_VARIABLE) or sqlite_url(self.run_folder / STORE_FILE)

    @property
    def local_inputs(self) -> list[str]:
        """Local files and folders that trials read: every node must have them under these names."""
        data, model = self.data, [self.model] if Path(self.model).is_absolute() else []
        named = (data.train, data.validation, data.test)
        files = [] if data.hub is not None else [data.path] if data.path is not None else named
        return [place for place in (*files, *model) if place is not None]

    @property
    def shipped(self) -> dict[str, str]:
        """The path or URI of each object that a search from Python has shipped, by the field that names it."""
        space = self.space.name if isinstance(self.space, NamedSpace) else None
        named = {"trainable": self.trainable, "hp_space": self.hp_space, "space": space}
        return {key: name.removeprefix(SHIPPED) for key, name in named.items() if name and name.startswith(SHIPPED)}

    def shipped_to(self, paths: Mapping[str, str]) -> dict[str, Any]:
        """The fields of `shipped` for objects that lie at other paths."""
        named = {key: f"{SHIPPED}{path}" for key, path in paths.items()}
        return {key: NamedSpace.of(name) if key == "space" else name for key, name in named.items()}

    @property
    def own_modules(self) -> tuple[str, ...]:
        """The user's modules that a trial imports, and the module of a named space."""
        space = self.space.name if isinstance(self.space, NamedSpace) else None
        return modules_of(self.trainable if self.own else None, self.hp_space, space)

    def space_of(self, strategy: Strategy) -> Space:
        """The space that `strategy` searches: its own, which replaces the experiment's, or what it takes of that.

        It carries what is known of it, if the strategy makes use of that.

        Raises:
            InputError: the space is named, and cannot be imported here or is none.
        """
        space = strategy.space
        if space is None:
            shared = self.space.resolved(self.tunable) if isinstance(self.space, NamedSpace) else self.space
            space = strategy.space_in(shared, own=self.own)
        if not (self.informs(strategy) and strategy.uses):
            return space
        known = knowledge_of(
            space,
            points=self.points,
            priors=self.priors,
            earlier=self.earlier,
            task=self.task,
            data=self.data,
            mode=self.resolved_objective().mode if self.earlier else "max",
            learns=strategy.learns_after(space) is not None,
        )
        return space.knowing(known)

    def informs(self, strategy: Strategy) -> bool:
        """True if the spec has knowledge for `strategy`."""
        return strategy.searches and strategy.informed and bool(self.points or self.priors or self.start_from)

    def resolved_objective(self) -> Objective:
        """The objective of the strategies: `objective`, else the task's own; for a user's own Trainer its loss.

        Of several it is the first.
        """
        from trainables.tasks import find_task

        if self.objectives:
            return self.objectives[0]
        if self.objective is None and self.own and self.task is None:
            return Objective(metric="loss", mode="min")
        return self.objective or find_task(self.task).objective

    def limit_of(self, strategy: Strategy) -> Limit | None:
        """The budget of each study of `strategy`: the same for all that search."""
        return self.budget.limit if strategy.searches else None

    @property
    def one_study_at_a_time(self) -> bool:
        """True if no study begins before the one in front of it has ended."""
        return not self.cluster.fill_slots or self.budget.wall_seconds is not None

    def may_cut(self, strategy: Strategy) -> bool:
        """True if the budget may end a study of `strategy` before its last trial has."""
        limit = self.limit_of(strategy)
        if limit is None or limit.unit != "epochs":
            return limit is not None
        planned = strategy.planned_epochs(self.space_of(strategy), self.epochs)
        return planned is None or planned > limit.amount

    def trial_spec(self, seed: int, strategy: str | None = None) -> FineTuneSpec:
        """The spec that the trials of the study with search seed `seed` share; their own `seed` moves with it.

        Args:
            strategy: its name. For one that searches nothing no function is called for its values; one that follows
                one score follows the weighted sum of several objectives.
        """
        own = {name: getattr(self, name) for name in FineTuneSpec.model_fields}
        if isinstance(self.space, NamedSpace) and self.space.suggests:
            own["hp_space"] = self.space.name
        named = [one for one in self.strategies if one.name == strategy]
        if not all(one.searches for one in named):
            own["hp_space"] = None
        follows_one = self.objectives and not all(one.several_objectives for one in named)
        objective = SCALARISED if follows_one else self.resolved_objective()
        drawn = {"seed": self.seed + seed, "data": self.data.cut_for(seed)}
        return FineTuneSpec(**{**own, "objective": objective, **drawn})

    def decisive(self) -> dict[str, Any]:
        """All fields that change results, by key.

        Of the budget that is its limit, not its price. Of an extended experiment it is what it began with: what is
        added changes no earlier result.
        """
        plain = self.model_dump(mode="json", exclude=NOT_IN_DIGEST | self._unset_fields(ADDED))
        for began in self.extended[:1]:
            plain["seeds"] = plain["seeds"][: began.seeds]
            plain["strategies"] = plain["strategies"][: began.strategies]
        return plain if self.budget.limit is None else {**plain, "budget": self.budget.limit}

    def digest(self) -> str:
        """A digest of `decisive`: 16 hex digits."""
        plain = self.decisive()
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    def plain(self) -> dict[str, Any]:
        """All fields as YAML has them, without those that do not concern this trainable and have their defaults."""
        unread = (*ADDED, *FINETUNE_FIELDS) if self.own else ADDED
        return self.model_dump(mode="json", exclude=self._unset_fields(unread))

    def _unset_fields(self, names: Iterable[str]) -> set[str]:
        return {*names} - {*self.stated(names)}

    def to_yaml(self) -> str:
        """The full resolved spec; `load_spec` reads it back to an equal one. Holds no secret."""
        return dump(self.plain())


def study_name(strategy: str, seed: int) -> str:
    """The name of a study, which is also that of its folder."""
    return f"{strategy}-seed{seed}"


def working_folder(storage: str, name: str) -> Path:
    """The local folder of a driver whose `storage` is a bucket. All of it can be restored from there.

    Raises:
        InputError: the environment names no folder for what may be lost.
    """
    return cache_folder() / "runs" / hashlib.sha256(storage.encode()).hexdigest()[:16] / name
