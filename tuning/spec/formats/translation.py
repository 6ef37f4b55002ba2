"""The translation of an experiment from another tool's format: a spec, notes on what was read how, and mistakes.

The names of hyperparameters are those that users of `Trainer` write: `lr` can only mean `learning_rate`, while
`dropout` may mean several keys of a model, which the mistake then names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from trainables.tunables import find_tunable
from tuning.space.aliases import meant_tunable
from tuning.space.dimensions import Choice, Dimension, Fixed
from tuning.spec.mistakes import Mistake, join_path

# Words that may mean several tunables, compared without case, dashes and underscores.
SEVERAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("dropout", "hiddendropout", "dropoutprob", "dropoutrate"),
        ("model.hidden_dropout_prob", "model.attention_probs_dropout_prob", "model.classifier_dropout"),
    ),
    **dict.fromkeys(("warmup", "warm"), ("warmup_ratio", "warmup_steps")),
    **dict.fromkeys(
        ("attentiondropout", "attndropout"), ("model.attention_probs_dropout_prob", "model.attention_dropout")
    ),
    "rate": ("learning_rate", "model.hidden_dropout_prob"),
    "decay": ("weight_decay", "lr_scheduler_type"),
}
# Keys of a spec that hold one value for all trials, by the names under which a constant parameter gives it.
HELD = {
    **{name: name for name in ("epochs", "seed", "model", "task", "precision", "eval_batch_size")},
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("model_name", "model_name_or_path", "pretrained_model", "model_id"), "model"),
    "random_state": "seed",
}
MODELS = "an experiment has one model; make an experiment of each, and compare them with `tunefleet compare`"
EVALUATED = ("eval_", "validation_", "valid_", "val_", "dev_")  # what stands before a metric of the validation split


class ForeignFormat(NamedTuple):
    """One tool's format.

    Args:
        title: with its article, for messages.
        keys: of its top level; others beside them are a spec's.
        recognises: tells its mappings from a spec's.
        translate: called with the mapping's own keys, and with those of a spec that stand beside them.
    """

    title: str
    keys: frozenset[str]
    recognises: Callable[[Mapping[str, Any]], bool]
    translate: Callable[[Mapping[str, Any], Mapping[str, Any]], Translation]


class DeclaredAs(NamedTuple):
    """The keys of a parameter's declaration, below its path."""

    values: str = "values"
    low: str = "min"
    high: str = "max"


USUAL_KEYS = DeclaredAs()


@dataclass
class Translation:
    """The translation of one experiment.

    Args:
        title: of the format.
        spec: top-level fields of our spec.
        notes: what was read how, a sentence each.
        mistakes: in the words of the format.
        places: by path of our spec, the path under which its user has typed it.
        steps: by path of our spec, the next step in the format's words, where it is missing or the wrong way round.
        broken: fields of our spec that mistakes have left incomplete, as in a `Draft`.
    """

    title: str
    spec: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def in_its_words(self, mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
        """Yields mistakes of the spec with the paths that the user typed, and with what to add."""
        for mistake in mistakes:
            own = mistake.rule == "is missing" or mistake.path == "objective.mode"
            step = self.steps.get(mistake.path) if own else None
            yield replace(mistake, path=self._typed(mistake.path), next_step=step or mistake.next_step)

    def _typed(self, path: str) -> str:
        found = [ours for ours in self.places if path == ours or path.startswith(f"{ours}.")]
        if not found:
            return path
        longest = max(found, key=len)
        return f"{self.places[longest]}{path.removeprefix(longest)}"

    def refuse(self, mistake: Mistake) -> None:
        """Note a mistake in a parameter, which is then missing from the space."""
        self.mistakes.append(mistake)
        self.broken.add("space.*")

    def place(self, name: str, typed: str, dimension: Dimension, keys: DeclaredAs) -> None:
        """Enter a searched dimension into the space.

        Args:
            name: of the tunable.
            typed: the path of its declaration.
            keys: of the declaration.
        """
        self.spec.setdefault("space", {})[name] = dimension.model_dump(mode="json", exclude_defaults=True)
        ours = join_path("space", name)
        self.places[ours] = typed
        if isinstance(dimension, Choice):
            self.places[f"{ours}.{dimension.key}"] = f"{typed}.{keys.values}"
        else:
            self.places[f"{ours}.{dimension.key}.0"] = f"{typed}.{keys.low}"
            self.places[f"{ours}.{dimension.key}.1"] = f"{typed}.{keys.high}"
            self.places[f"{ours}.{dimension.key}"] = typed

    def hold(self, name: str, typed: str, value: Any) -> None:
        """Enter a value that all trials share under `fixed`."""
        self.spec.setdefault("fixed", {})[name] = value
        self.places[join_path("fixed", name)] = typed


def is_own(given: Mapping[str, Any]) -> bool:
    """True if the trainable is the user's own: it is given parameters under the names that they have."""
    return ":" in str(given.get("trainable"))


def tunable_for(name: str) -> str | tuple[str, ...] | None:
    """The tunable that a parameter's name can only mean; several if it may mean each of them; None if none."""
    for candidate in dict.fromkeys((name, name.rpartition(".")[2])):  # of a nested parameter its last word may do
        if find_tunable(candidate) is not None:
            return candidate
        if (several := SEVERAL.get(candidate.lower().replace("_", "").replace("-", ""))) is not None:
            return several
        if (meant := meant_tunable(candidate)) is not None:
            return meant
    return None


def enter_parameter(
    made: Translation, typed: str, name: str, dimension: Dimension, *, own: bool, keys: DeclaredAs = USUAL_KEYS
) -> None:
    """Enter one parameter into the translation: into the space, under `fixed`, or as a field that all trials share.

    Args:
        typed: the path of its declaration.
        name: as its user has it.
        own: the trainable is the user's own.
        keys: see `Translation.place`.
    """
    held = HELD.get(name)
    if isinstance(dimension, Fixed) and held is not None and (held == "epochs" or not own):
        made.spec.setdefault(held, dimension.value)
        made.places.setdefault(held, typed)
        if not own:
            return
    meant = None if own else tunable_for(name)
    if isinstance(meant, tuple):
        step = f"write its own name: {' or '.join(meant)}"
        made.refuse(Mistake(typed, f"{name} may mean several hyperparameters", next_step=step))
        return
    if held == "model" and not own:
        made.refuse(Mistake(typed, "lists several models", next_step=MODELS))
        return
    target = meant or name
    other = made.places.get(join_path("space", target), made.places.get(join_path("fixed", target)))
    if other is not None:
        rule = f"{other} sets {target}, too"
        made.refuse(Mistake(typed, rule, next_step="keep one of the two"))
        return
    if target != name:
        made.notes.append(f"{typed} is {target}")
    if isinstance(dimension, Fixed):
        made.hold(target, typed, dimension.value)
    else:
        made.place(target, typed, dimension, keys)
    if target == "num_train_epochs" or (own and held == "epochs"):
        longest = max((value for _, value in dimension.stated() if isinstance(value, int | float)), default=None)
        if longest is not None:
            made.spec.setdefault("epochs", longest)


def enter_metric(made: Translation, typed: str, metric: str, mode: str, *, own: bool) -> None:
    """Enter the objective: a metric of the validation split, by the names that other tools give it.

    Args:
        typed: the path of the metric's name.
        metric: as its user has it, such as `eval/loss` or `val_acc`.
        mode: max or min.
        own: the trainable is the user's own: it reports the metric under that name.
    """
    name = metric
    if not own:
        plain = metric.replace("/", "_").replace(".", "_")
        first = plain.partition("_")[0]
        if first in ("train", "training", "test"):
            split = "training" if first.startswith("train") else "test"
            rule = f"is of the {split} split; trials are compared on the validation split"
            made.mistakes.append(Mistake(typed, rule, metric, f"write eval/{plain.partition('_')[2]}"))
            return
        prefix = next((one for one in EVALUATED if plain.startswith(one)), "")
        name = plain.removeprefix(prefix)
        name = "accuracy" if name == "acc" else name
    elif metric.startswith(("eval/", "eval_")):
        plain = metric[len("eval/") :]
        made.notes.append(f"{typed}: your training reports {metric}; if it is a Trainer, write {typed}={plain}")
    if name != metric:
        made.notes.append(f"{typed}: {metric} is {name}, on the validation split")
    made.spec["objective"] = {"metric": name, "mode": mode}
    made.places["objective.metric"] = typed


def folder_words(text: str) -> str:
    """A text as a name that a folder can have; empty if nothing of it can stand there."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in text)
    return kept.strip("-._")
