"""Writes the model card: what the model is, how its values were found, how sure its scores are, how to reproduce it.

In: a final model with its study. Out: Markdown, with front matter as the Hugging Face Hub reads it, written by the
Hub's own library. No license is named: those of the base model and of the data bind, and they are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from trainables.wording import counted
from tuning.comparison.scores import StudyScores, study_interval, study_scores, with_bootstrap
from tuning.comparison.types import Interval
from tuning.outcome import Confirmation, ScoredRows, TrialState
from tuning.run_folder.provenance import library_versions
from tuning.selection.best_spec import FILE, schedule_lines
from tuning.selection.card_subject import subject_of
from tuning.selection.kept_model import KeptModel
from tuning.selection.local_paths import remove_local_paths
from tuning.selection.winner import mean

CARD = "README.md"


def model_card(final: KeptModel) -> str:
    """Return the card as Markdown with front matter, without any path of this machine."""
    from huggingface_hub import ModelCardData

    about, title = subject_of(final), f"{final.spec.name}-best"
    tags = ["tunefleet", "hyperparameter-search"]
    front_matter = ModelCardData(model_name=title, **about.front_matter(), tags=tags)
    what, data = (f"# {title}", "", *about.what(), ""), ("## Data", "", *about.data(), "")
    body = [*what, *_scores(final), *_values(final), *_search(final), *data, *_again(final)]
    text = f"---\n{front_matter.to_yaml()}\n---\n\n" + "\n".join(body) + "\n"
    return remove_local_paths(text, final.spec.model_dump(mode="json"))  # values that were searched may be paths, too


def _scores(final: KeptModel) -> Iterator[str]:
    metric, trainings = final.metric, final.winner.confirmations
    yield "## Scores"
    yield ""
    yield from _on_test(final)
    yield ""
    if trainings:
        yield f"The same configuration on the training rows alone, {counted(len(trainings), 'training seed')}:"
        yield ""
        yield f"| {metric} | mean | lowest | highest | 95 % interval of the mean, over rows and seeds |"
        yield "|---|---|---|---|---|"
        yield f"{_spread('validation', trainings, metric)} - |"
        if (tested := study_scores(final.winner.study)) is not None and tested.trainings:
            yield f"{_spread('test', trainings, metric)} {_interval(tested, metric)} |"
        yield ""
    yield f"The search's own validation score was {final.winner.candidate.searched:.4f}: the best of many, so too good."
    caveats = list(final.winner.caveats)
    if final.evaluations:
        caveats.append(
            f"Each chosen model is evaluated on the test rows once: {counted(final.evaluations, 'model')} of this "
            "experiment had been evaluated there before this one."
        )
    caveats += () if final.memory is None else final.memory.sentences()
    yield from ([""] if caveats else [])
    yield from (f"- {caveat}" for caveat in caveats)
    yield ""


def _on_test(final: KeptModel) -> Iterator[str]:
    model = final.model
    if model.hidden:
        yield f"Its score on the {model.rows:,} test rows is hidden: nobody has seen it."
        chosen = final.winner.candidate
        pick = f" --pick {chosen.trial}@{chosen.epoch:g}" if final.winner.picked else ""
        command = f"tunefleet train-final {final.spec.name}{pick} --reveal-test"
        yield f"`{command}` shows it, here too, and records the evaluation."
        return
    if not model.metrics:
        yield "This model has no score of its own: its Trainer has no `test_dataset`, and other rows are trained on."
        return
    yield f"On the {model.rows:,} test rows, evaluated once:"
    yield ""
    yield "| | score | 95 % interval over rows |"
    yield "|---|---|---|"
    for name, score in model.metrics.items():
        yield f"| {name} | {score:.4f} | {_over_rows(final, name, score)} |"


def _over_rows(final: KeptModel, metric: str, score: float) -> str:
    """Return the interval of this model's score; `-` if its rows are unknown, or the metric needs more than classes."""
    labels, predictions = final.scores.labels, final.scores.predictions
    if labels is None or predictions is None:
        return "-"
    rows = (ScoredRows(labels, predictions),)
    return _interval(StudyScores(final.model.seed, (score,), final.scores.rows, rows), metric)


def _interval(test: StudyScores, metric: str) -> str:
    (drawn,) = with_bootstrap({"": [test]}, metric)[""]
    found: Interval | None = None if drawn is None else study_interval(drawn, metric)
    return "-" if found is None else f"{found.low:.4f} to {found.high:.4f}"


def _spread(split: Literal["validation", "test"], trainings: tuple[Confirmation, ...], metric: str) -> str:
    scores = [getattr(training, split)[metric] for training in trainings]
    return f"| {split} | {mean(trainings, split, metric):.4f} | {min(scores):.4f} | {max(scores):.4f} |"


def _values(final: KeptModel) -> Iterator[str]:
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


def _search(final: KeptModel) -> Iterator[str]:
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
    """Yield the kind of a range and its ends or choices, without what only a search uses."""
    return ((kind, value) for kind, value in range_.items() if kind != "mutate")


def _again(final: KeptModel) -> Iterator[str]:
    yield "## Again"
    yield ""
    made = f"{final.spec.name} --strategy {final.winner.study.strategy} --seed {final.model.seed}"
    device, precision = final.provenance["device_name"], final.provenance["precision"]
    yield f"`tunefleet run {FILE}` trains the configuration on the training rows."
    yield f"`tunefleet train-final {made}` made this model, from the experiment's store"
    yield f"({device}, {precision}, {final.model.device_seconds:,.0f} device-seconds). Versions:"
    yield ", ".join(f"{name} {number}" for name, number in library_versions().items()) + "."
