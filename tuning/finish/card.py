"""The model card: what the model is, how its values were found, how sure its scores are, how to make it again.

Front matter as the Hugging Face Hub reads it, written by its own library. No license is named: the base model's and
the data's bind, and nobody here knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainables.model_files import EMBEDDED
from trainables.spec import DataSpec, Value
from trainables.tasks import Task, find_task
from trainables.training import Scores
from trainables.wording import counted
from tuning.comparison.scores import Scored, interval_of, scored, with_draws
from tuning.comparison.shapes import Interval
from tuning.finish.best_spec import FILE, schedule_lines
from tuning.finish.local_paths import scrubbed
from tuning.finish.winner import Winner, mean
from tuning.outcome import Confirmation, FinalModel, ScoredRows, TrialState
from tuning.run.provenance import versions
from tuning.spec import ExperimentSpec

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD = "README.md"
# As the hub spells them; the others are spelled alike.
METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "macro_f1": "f1"}


@dataclass(frozen=True)
class Final:
    """A final model with all that is known of it."""

    spec: ExperimentSpec
    winner: Winner
    model: FinalModel
    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]
    looks: int  # at test by final models of this experiment before this one

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return find_task(self.spec.task)

    @property
    def data(self) -> DataSpec:
        """Where the rows came from, with what the task's preset says."""
        return self.task.options(self.spec.data)

    @property
    def metric(self) -> str:
        """What the search optimised."""
        return self.winner.study.metric


def model_card(final: Final) -> str:
    """Markdown with front matter. No path of this machine stands in it."""
    body = [line for part in (_what, _scores, _values, _search, _data, _again) for line in part(final)]
    text = f"---\n{_front_matter(final).to_yaml()}\n---\n\n" + "\n".join(body) + "\n"
    return scrubbed(text, final.spec.model_dump(mode="json"))  # values that were searched may be paths, too


def _front_matter(final: Final) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    hub_model = final.spec.model != EMBEDDED and _base(final) == final.spec.model
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=final.data.hub or final.task.name,
            dataset_name=_named(final),
            dataset_split="test",
            metric_type=METRICS.get(name, name),
            metric_name=name,
            metric_value=value,
        )
        for name, value in final.model.metrics.items()
        if name in final.task.metric_names
    ]
    return ModelCardData(
        model_name=f"{final.spec.name}-best",
        eval_results=results,
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=final.spec.model if hub_model else None,
        datasets=[final.data.hub] if final.data.hub else None,
        metrics=list(dict.fromkeys(METRICS.get(name, name) for name in final.task.metric_names)),
        tags=["tunefleet", "hyperparameter-search"],
    )


def _what(final: Final) -> Iterator[str]:
    names = ", ".join(final.label_names)
    kind = f"a text classifier ({names})" if names else "a text regression"
    yield f"# {final.spec.name}-best"
    yield ""
    yield f"{_base(final)}, fine-tuned as {kind} on {_named(final)}. Its hyperparameters were found with tunefleet:"
    yield "scores, search and data are told below."
    yield ""
    length = final.winner.candidate.schedule[-1].params.get("data.max_length") or final.spec.data.max_length or 128
    yield "```python"
    yield "from transformers import pipeline"
    yield ""
    yield f'classify = pipeline("text-classification", FOLDER, truncation=True, max_length={length})'
    yield "```"
    yield ""


def _scores(final: Final) -> Iterator[str]:
    metric, model, trainings = final.metric, final.model, final.winner.confirmations
    yield "## Scores"
    yield ""
    yield f"On the {model.rows:,} test rows, at which this model had one look:"
    yield ""
    yield "| | score | 95 % interval over rows |"
    yield "|---|---|---|"
    for name, score in model.metrics.items():
        yield f"| {name} | {score:.4f} | {_over_rows(final, name, score)} |"
    yield ""
    if trainings:
        yield f"The same configuration on the training rows alone, {counted(len(trainings), 'training seed')}:"
        yield ""
        yield f"| {metric} | mean | lowest | highest | 95 % interval of the mean, over rows and seeds |"
        yield "|---|---|---|---|---|"
        yield f"{_spread('validation', trainings, metric)} - |"
        if (tested := scored(final.winner.study)) is not None and tested.trainings:
            yield f"{_spread('test', trainings, metric)} {_interval(tested, metric)} |"
        yield ""
    yield f"The search's own validation score was {final.winner.candidate.searched:.4f}: the best of many, so too high."
    caveats = list(final.winner.caveats)
    if final.looks:
        caveats.append(
            f"{counted(final.looks, 'final model')} of this experiment had a look at the same test rows before this "
            "one."
        )
    yield from ([""] if caveats else [])
    yield from (f"- {caveat}" for caveat in caveats)
    yield ""


def _over_rows(final: Final, metric: str, score: float) -> str:
    """The interval of this model's score; `-` where its rows are not told, or the metric needs more than classes."""
    labels, said = final.scores.labels, final.scores.predictions
    if labels is None or said is None:
        return "-"
    return _interval(Scored(final.model.seed, (score,), final.scores.rows, (ScoredRows(labels, said),)), metric)


def _interval(test: Scored, metric: str) -> str:
    (drawn,) = with_draws({"": [test]}, metric)[""]
    found: Interval | None = None if drawn is None else interval_of(drawn, metric)
    return "-" if found is None else f"{found.low:.4f} to {found.high:.4f}"


def _spread(split: Literal["validation", "test"], trainings: tuple[Confirmation, ...], metric: str) -> str:
    scores = [getattr(training, split)[metric] for training in trainings]
    return f"| {split} | {mean(trainings, split, metric):.4f} | {min(scores):.4f} | {max(scores):.4f} |"


def _values(final: Final) -> Iterator[str]:
    schedule = final.winner.candidate.schedule
    yield "## Hyperparameters"
    yield ""
    yield from (f"- {name}: {value}" for name, value in schedule[-1].params.items())
    yield f"- epochs trained: {final.model.epoch:g}; the learning rate's schedule spans {final.spec.epochs:g}"
    yield f"- training seed: {final.model.seed}"
    if len(schedule) > 1:
        yield ""
        yield "These are the values at the end; on the way, replayed in flight:"
        yield ""
        yield from (f"- {line}" for line in schedule_lines(schedule))
    yield ""


def _search(final: Final) -> Iterator[str]:
    study = final.winner.study
    failed = study.count(TrialState.FAILED)
    yield "## The search"
    yield ""
    yield (
        f"Experiment {final.spec.name}; strategies {', '.join(s.name for s in final.spec.strategies)}; search seeds "
        f"{', '.join(map(str, final.spec.seeds))}. The configuration is of {study.strategy}, seed {study.seed}: "
        f"{counted(len(study.trials), 'trial')}, {failed} failed, {study.device_seconds:,.0f} device-seconds "
        f"({study.device}s)."
    )
    yield ""
    for strategy in final.spec.strategies:
        space = final.spec.space_of(strategy).model_dump(mode="json", exclude_defaults=True)
        ranges = (f"{name}: {kind} {value}" for name, range_ in space.items() for kind, value in _as_declared(range_))
        yield f"- {strategy.name}: {', '.join(ranges)}"
    yield ""


def _as_declared(range_: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The kind of a range and its ends or choices, without what a search alone asks of it."""
    return ((kind, value) for kind, value in range_.items() if kind != "mutate")


def _data(final: Final) -> Iterator[str]:
    facts = final.provenance
    yield "## Data"
    yield ""
    yield f"{_named(final)}: trained on {facts['train_rows']:,} rows (training and validation), tested on"
    yield f"{facts['test_rows']:,}. Three disjoint splits; fingerprint of rows and labels:"
    yield f"`{facts['data_fingerprint']}`."
    yield ""


def _again(final: Final) -> Iterator[str]:
    yield "## Again"
    yield ""
    made = f"{final.spec.name} --strategy {final.winner.study.strategy} --seed {final.model.seed}"
    device, precision = final.provenance["device_name"], final.provenance["precision"]
    yield f"`tunefleet run {FILE}` trains the configuration on the training rows."
    yield f"`tunefleet train-final {made}` made this model, from the experiment's store"
    yield f"({device}, {precision}, {final.model.device_seconds:,.0f} device-seconds). Versions:"
    yield ", ".join(f"{name} {number}" for name, number in versions().items()) + "."


def _base(final: Final) -> str:
    """The model that was fine-tuned, without a path of this machine."""
    return Path(final.spec.model).name if Path(final.spec.model).is_absolute() else final.spec.model


def _named(final: Final) -> str:
    """The data, without a path of this machine."""
    data = final.data
    if data.hub is not None:
        return f"{data.hub} ({data.config})" if data.config else data.hub
    if data.source is not None:
        return f"{final.spec.task} ({data.source})"
    return f"{final.spec.task} ({Path(data.path or data.train or '').name})"
