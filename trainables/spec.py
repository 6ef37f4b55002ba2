"""The specification of a trial: task, data, model, epochs, fixed values.

Its hyperparameters are in `trainables.tunables`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from trainables import tunables
from trainables.metrics import COSTS
from trainables.tunables import LARGEST_SEED, TRAINING_SEEDS, CustomTunable, ModelKey, Tunable, find_tunable

Value: TypeAlias = tunables.Value
Params: TypeAlias = Mapping[str, Value]  # the values of one trial, by tunable name
Epochs = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # passes over the training split, whole or in part


def whole_seed(raw: object) -> int:
    """Validates a seed.

    Raises:
        ValueError: `raw` is not a whole number, or outside the range of NumPy's seeds.
    """
    if isinstance(raw, bool) or not isinstance(raw, Integral) or not 0 <= int(raw) <= LARGEST_SEED:
        raise ValueError(f"must be a whole number from 0 to {LARGEST_SEED}")
    return int(raw)


Seed = Annotated[int, BeforeValidator(whole_seed)]


def _as_text(name: object) -> object:
    return str(name).lower() if isinstance(name, bool) else str(name) if isinstance(name, int) else name


ClassName = Annotated[str | None, BeforeValidator(_as_text)]  # YAML's 1 and true are class names, too


class Frozen(BaseModel):
    """The base class of the parts of a spec: immutable; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# The trainables of this package, by their names in a spec.
TRAININGS = {
    "finetune": "trainables.finetune.finetune:FineTuning",
    "learning_curve": "trainables.learning_curve:LearningCurve",
}
# Fields of FineTuneSpec that only `finetune` reads; a user's Trainer has its own settings.
FINETUNE_FIELDS = (
    *("task", "data", "model", "revision", "trust_remote_code", "eval_batch_size", "pad_to_multiple_of", "compile"),
    *("group_by_length", "precision", "deterministic"),
)
FINAL = "final:"  # prefix of a trainable's name: the same, on training and validation rows together
SHIPPED = "shipped:"  # prefix of the path of a trainable that was pickled by value, such as one of a notebook


class Subset(Frozen):
    """The number of rows of each split to use, drawn at random and stratified; null: all rows."""

    train: PositiveInt | None = None
    validation: PositiveInt | None = None
    test: PositiveInt | None = None


ADDED_DATA_FIELDS = ("group", "split_seed")  # fields of `DataSpec` that specs of version 0.1 do not have
PER_SEED = "per_seed"  # value of `data.split_seed`: each search seed has its own cut


def _split_seed(raw: object) -> object:
    return raw if raw in (None, PER_SEED) else whole_seed(raw)


class DataSpec(Frozen):
    """The source of the rows and how they are prepared; unset fields have the values of the task's preset."""

    path: str | None = Field(
        None, description="a folder with train/validation/test files, or one file; CSV, TSV, JSON, JSONL (.gz), Parquet"
    )
    train: str | None = Field(
        None, description="the training file, relative to `path` if that is set; with `hub`, the split"
    )
    validation: str | None = Field(None, description="the validation file or Hub split; without it, cut from train")
    test: str | None = Field(None, description="the test file or Hub split; without it, cut from train")
    hub: str | None = Field(None, description="a data set's Hub id, such as nyu-mll/glue")
    config: str | None = Field(None, description="the Hub data set's configuration, such as rte")
    revision: str | None = Field(None, description="a commit, tag or branch of the Hub data set")
    text: tuple[str, ...] | None = Field(None, description="one or two text columns", min_length=1, max_length=2)
    label: str | None = Field(None, description="the label column")
    positive: ClassName = Field(
        None, description="of two classes, the one whose F1 is `f1`; null: the rarer one in training, or as GLUE has it"
    )
    encoding: str | None = Field(None, description="of text files, such as cp1252; null: UTF-8, or as their mark says")
    separator: str | None = Field(
        None, description="of CSV and TSV: comma, semicolon, tab, pipe or a character; null: as the header shows"
    )
    quoted: bool | None = Field(
        None, description="of CSV and TSV: whether fields may stand in double quotes; null: in CSV yes, in TSV as found"
    )
    drop_empty: bool = Field(False, description="leave out rows without a text, and count them; else they are refused")
    source: str | None = Field(None, description="reviews only: rotten_tomatoes or imdb")
    max_length: PositiveInt | None = Field(None, description="tokens; longer texts are truncated")
    subset: Subset = Subset()
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = Field(0, description="of the split and of the subset; the same for every trial")
    group: str | None = Field(
        None, description="a column; no value of it stands in two splits that are cut here (rte, glue/mnli: premise)"
    )
    split_seed: Annotated[int | Literal["per_seed"] | None, BeforeValidator(_split_seed)] = Field(
        None,
        description="of the cut between training and validation rows; per_seed: each search seed has its own, and all "
        "have the same test rows; null: `seed`",
    )

    @model_serializer(mode="wrap")
    def _as_older_versions(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialises without fields that older specs lack, if they are unset, so that digests do not change."""
        written: dict[str, Any] = plain(self)
        return {name: value for name, value in written.items() if name not in ADDED_DATA_FIELDS or value is not None}

    def cut_for(self, seed: int) -> DataSpec:
        """Returns the spec for the search seed `seed`: `per_seed` becomes a number, which is `self.seed` for seed 0."""
        if self.split_seed != PER_SEED:
            return self
        return self.model_copy(update={"split_seed": (self.seed + seed) % (LARGEST_SEED + 1)})


class Objective(Frozen):
    """The metric that a strategy optimises, on the validation split, and its direction."""

    metric: str
    mode: Literal["max", "min"]


SCALARISED = Objective(metric="scalarised", mode="max")  # of strategies that follow one score, where there are several


class Constraint(Frozen):
    """A bound on a metric, such as `latency_ms <= 20`; reports that break it are worse than all that keep it."""

    metric: str
    at_most: Annotated[float, Field(allow_inf_nan=False)] | None = None
    at_least: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("must have one bound, at_most or at_least; for both write two constraints")
        return self

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Returns how far `metrics` are beyond the bound, as a share of it (of 0 as they are); 0: they keep it."""
        value = metrics[self.metric]
        beyond = value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value
        return max(0.0, beyond) / (abs(self.at_most or self.at_least or 0.0) or 1.0)

    def __str__(self) -> str:
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        return f"{self.metric} {bound}"


class Goal(Frozen):
    """Several objectives of one search, and constraints on its reports."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    def __str__(self) -> str:
        """Returns the objectives and constraints in words: accuracy max, latency_ms min; parameters <= 3e+07."""
        objectives = ", ".join(f"{one.metric} {one.mode}" for one in self.objectives)
        return "; ".join([objectives, *map(str, self.constraints)])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics that it reads, each once, those of the objectives first."""
        bounded = (one.metric for one in self.constraints)
        return tuple(dict.fromkeys([*(one.metric for one in self.objectives), *bounded]))

    def losses(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The values of the objectives in their order, with the sign by which less is better."""
        return tuple(metrics[one.metric] * (1 if one.mode == "min" else -1) for one in self.objectives)

    def violation(self, metrics: Mapping[str, float]) -> float:
        """The sum over the constraints of how far each is broken; 0: all are kept."""
        return sum(one.violation(metrics) for one in self.constraints)


class TrainingSeeds(NamedTuple):
    """The seeds of one trial's training."""

    data_order: int  # of the order of the rows
    head: int  # of the model's head and of dropout


OWN_PACKAGES = (
    "cluster",
    "trainables",
    "tuning",
)  # packages that every worker has; they contain example trainables, too


def display_name(name: str) -> str:
    """The name of a trainable for messages; for a shipped one its original name, not its path."""
    return re.sub(r"-[0-9a-f]{16,}\.pkl$", "", PurePath(name).name) if name.startswith(SHIPPED) else name


def modules_of(*names: str | None) -> tuple[str, ...]:
    """The user's top-level modules or packages in names like package.module:name; shipped ones are left out."""
    found = (name.partition(":")[0].partition(".")[0] for name in names if name and not name.startswith(SHIPPED))
    return tuple(dict.fromkeys(module for module in found if module not in OWN_PACKAGES))


class FineTuneSpec(Frozen):
    """Everything that a trial needs besides its params; the same for all trials of a study."""

    trainable: str = Field("finetune", description="finetune, learning_curve, or package.module:name for your own")
    task: str | None = Field(
        None,
        description="reviews, rte, imdb, glue/<config>, text_classification or text_regression; not asked for where "
        "the trainable is your own",
    )
    data: DataSpec = DataSpec()
    model: str = Field("minilm", description="minilm (embedded), a Hub id or a local folder")
    revision: str | None = Field(None, description="a commit, tag or branch of the Hub model")
    trust_remote_code: bool = Field(False, description="run Python code that comes with a Hub model")
    epochs: Epochs = Field(description="the full budget of one trial, passes over the training split")
    report_every_epochs: Annotated[Epochs, Field(ge=0.001)] = Field(
        1.0, description="one evaluation and one report per this many epochs, and one at the end of the trial"
    )
    eval_batch_size: PositiveInt | None = Field(
        None,
        description="rows per batch of an evaluation; null: what makes 2,048 tokens on a CPU, 32,768 on a GPU",
    )
    pad_to_multiple_of: PositiveInt | None = Field(
        None,
        description="tokens; batches are padded to a multiple; null: 8 on a GPU, 32 if compiled, else as needed",
    )
    compile: bool = Field(False, description="compile the encoder with torch.compile: pays in long trials on a GPU")
    group_by_length: bool = Field(True, description="batches of texts of similar length: less padding")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto",
        description="auto: bf16 if the devices of all nodes compute it natively (GPUs of compute capability 8.0 or up, "
        "CPUs with AVX512-BF16, AMX or Arm's bf16), else fp32; decided once for all trials, recorded, and kept by a "
        "resume. tf32: fp32 whose matrix products such GPUs round to TF32, elsewhere fp32",
    )
    deterministic: bool = Field(
        False,
        description="deterministic kernels on a GPU, slower: a lost state is recomputed bit for bit there, too, on the "
        "same kind of GPU and versions; recorded. On a CPU trials are so in any case",
    )
    expandable_segments: bool = Field(
        False,
        description="a GPU's memory in segments that grow, in place of new ones beside them: less of it is lost where "
        "batches have many lengths. Set for torch's allocator before CUDA is used, beside the shell's own settings",
    )
    fixed: dict[str, Value] = Field(default_factory=dict, description="tunables held at one value")
    hp_space: str | None = Field(
        None,
        description="package.module:function; the trainable is given what it returns for a trial's values; null: those",
    )
    in_flight: tuple[str, ...] = Field(
        (), description="names of your own trainable's that pbt may change in the middle of a trial"
    )
    objective: Objective | None = Field(
        None,
        description="null: the task's own (accuracy, matthews_correlation, ...); of a Trainer of your own its loss",
    )
    objectives: tuple[Objective, ...] = Field(
        (),
        description="two or more, in place of `objective`: the search looks for the configurations of which no other "
        "is better in one and as good in all; tables are sorted by the first",
    )
    constraints: tuple[Constraint, ...] = Field(
        (), description="with `objectives`: bounds on metrics, such as latency_ms <= 20, whether objectives or not"
    )
    scalarisation: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="with `objectives`: a weight for each, by its metric; strategies that follow one score follow the "
        "weighted sum, in which metrics to be minimised count negative",
    )
    measure: tuple[Literal["latency_ms", "parameters", "model_bytes", "train_device_seconds"], ...] = Field(
        (),
        description="costs that are reported beside the scores; one that is an objective is measured in any case. "
        "latency_ms: of one row at inference, the median; parameters and model_bytes: of the model; "
        "train_device_seconds: of a trial's training and evaluation so far",
    )
    seed: Seed = Field(0, description="of the order of the rows, the model's head and dropout; moves with a study's")
    data_order_seed: Seed | None = Field(
        None, description="of the order of the rows, the same in every study; null: `seed`"
    )
    head_seed: Seed | None = Field(
        None, description="of the model's head and dropout, the same in every study; null: `seed`"
    )

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that trials measure, of those in `trainables.metrics`."""
        named = {*self.measure, *self.required_metrics}
        return tuple(cost for cost in COSTS if cost in named)

    @property
    def goal(self) -> Goal | None:
        """The objectives with their constraints; None if there is one objective."""
        return Goal(objectives=self.objectives, constraints=self.constraints) if self.objectives else None

    @property
    def required_metrics(self) -> tuple[str, ...]:
        """The metrics that each report must have as finite numbers, but for the weighted sum, which is computed."""
        if self.goal is not None:
            return self.goal.metrics
        return () if self.objective is None else (self.objective.metric,)

    def with_scalarised(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Adds the weighted sum of the objectives to `metrics`, if the spec has weights."""
        if not self.scalarisation:
            return dict(metrics)
        signs = {one.metric: 1 if one.mode == "max" else -1 for one in self.objectives}
        return {**metrics, SCALARISED.metric: sum(w * signs[n] * metrics[n] for n, w in self.scalarisation.items())}

    @property
    def own(self) -> bool:
        """True if the trainable is the user's, not one of `TRAININGS`."""
        return self.trainable not in TRAININGS

    @property
    def own_modules(self) -> tuple[str, ...]:
        """The user's top-level modules or packages that trials import by name."""
        return modules_of(self.trainable if self.own else None, self.hp_space)

    def stated(self, names: Iterable[str]) -> tuple[str, ...]:
        """Selects the fields whose values are not the defaults."""
        fields = type(self).model_fields
        return tuple(name for name in names if getattr(self, name) != fields[name].get_default())

    def tunable(self, name: str) -> Tunable | None:
        """Returns the hyperparameter `name`; None if the trainable does not read it.

        A user's own trainable may read any name. Names in `TUNABLES` keep their types, ranges and `in_flight`, but
        choices may be any text: transformers has more schedules and optimizers than `finetune`.
        """
        known = find_tunable(name)
        if not self.own and not (known is None and name in self.in_flight):
            return known
        if known is None or isinstance(known, ModelKey):
            return CustomTunable(name, in_flight=name in self.in_flight)
        if name == "warmup_steps":  # transformers 5 has no warmup_ratio
            return dataclasses.replace(known, kind="float", unit="optimizer steps; below 1 a share of all")
        return dataclasses.replace(known, choices=()) if known.kind == "choice" else known

    @property
    def training_seeds(self) -> TrainingSeeds:
        """The seeds in force: the specific ones, else `seed`."""
        order, head = (self.seed if own is None else own for own in (self.data_order_seed, self.head_seed))
        return TrainingSeeds(order, head)

    def seeded(self, params: Params) -> Self:
        """Returns the spec of a trial with `params`: training seeds among them hold in place of the spec's."""
        own = {name: whole_seed(params[name]) for name in TRAINING_SEEDS if params.get(name) is not None}
        return self.model_copy(update=own) if own else self
