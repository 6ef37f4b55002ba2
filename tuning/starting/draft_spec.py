"""A first spec as commented YAML. In: the rows of a user's file and the choices about them. Out: text."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning.spec.file import parse
from tuning.starting.columns import TrainingRows
from tuning.starting.data_choices import DataChoices

SHOWN_CLASSES = 10
SHOWN_CHARACTERS = 40  # of a class's name in a comment
GAP = 34  # where comments begin


def name_for(path: Path) -> str:
    """A name for the experiment and its run folder, after the file or its folder."""
    stem = path.name.removesuffix(".gz")
    stem = Path(stem).stem if path.is_file() else stem
    if stem.lower() in ("train", "data", "dataset", "") and path.absolute().parent.name:
        stem = path.absolute().parent.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return name or "my-texts"


def spec_text(rows: TrainingRows, choices: DataChoices, encoding: str | None = None) -> str:
    """The YAML of a first spec, with the reason for each value in a comment."""
    label, why = choices.label, choices.why
    data = [
        ("path", str(rows.path), "relative to where you start tunefleet" if not rows.path.is_absolute() else ""),
        ("text", [column.name for column in choices.text], why["text"]),
        ("label", label.name, why["label"]),
        ("max_length", choices.max_length, f"tokens, estimated: {why['max_length']}"),
    ]
    if encoding is not None:
        data.append(("encoding", encoding, "named by --encoding"))
    if choices.drop_empty:
        data.append(("drop_empty", True, f"{why['drop_empty']}; without this they are refused"))
    for split, fraction in (("validation", choices.validation_fraction), ("test", choices.test_fraction)):
        if split not in rows.splits:
            how = "drawn at random, stratified" if choices.task == "text_classification" else "drawn at random"
            data.append((f"{split}_fraction", fraction, f"of the training rows: there is no {split} file; {how}"))
    lines = [
        f"# {_comment(f'Written by `tunefleet init --data {shlex.quote(str(rows.path))}`: what was found, and why.')}",
        *(f"# Unsure: {_comment(sentence)}" for sentence in choices.unsure),
        _line("name", name_for(rows.path), "names the run folder"),
        _line("task", choices.task, why["task"]),
        *_classes(choices),
        _line("model", "minilm", "embedded, English; or a Hub id such as distilroberta-base, or a local folder"),
        f"data:{' ' * (GAP - 5)}# {_splits(rows)}",
        *(f"  {_line(*entry, gap=GAP - 2)}" for entry in data),
    ]
    return "\n".join([*lines, REST])


REST = """epochs: 3                         # the full budget of one trial, passes over the training rows

# By TrainingArguments' own names; see `tunefleet ls` and the commented spec of `tunefleet init`.
space:
  learning_rate: {loguniform: [1e-5, 2e-4]}
  per_device_train_batch_size: {choice: [16, 32]}

strategies:                       # each is compared with the others
  - kind: grid
    points: 3                     # values per range, evenly spaced on its scale: 3 x 2 combinations
  - kind: hyperopt_asha           # a model of the scores proposes; most trials stop early
    trials: 12
  - kind: pbt                     # members clone the better ones, and go on with other values
    population: 6
seeds: [0]                        # three or more to compare strategies
"""


def _classes(choices: DataChoices) -> list[str]:
    """The classes with their rows, as comments."""
    if choices.task != "text_classification":
        return []
    label = choices.label
    counts = label.counts.most_common(SHOWN_CLASSES)

    def name(value: str) -> str:
        known = label.class_names
        return known[int(value)] if known and value.isdecimal() and int(value) < len(known) else value

    listed = ", ".join(f"{_comment(name(value))[:SHOWN_CHARACTERS]} {count:,}" for value, count in counts)
    rest = len(label.counts) - len(counts)
    return [f"#   rows by class: {listed}{f', and {rest} more classes' if rest else ''}"]


def _splits(rows: TrainingRows) -> str:
    files = "; ".join(f"{split}: {_comment(', '.join(names))}" for split, names in rows.splits.items())
    count = f"{len(rows.columns[0].cells):,} training rows"
    return f"{count}{'' if rows.complete else ' in the beginning that was looked at'} ({files})"


def _line(key: str, value: Any, why: str, gap: int = GAP) -> str:
    written = f"{key}: {_written(value)}"
    return f"{written}{' ' * max(1, gap - len(written))}# {_comment(why)}" if why else written


def _written(value: Any) -> str:
    """One value on one line, quoted where YAML would read it as something else."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./ -]*[A-Za-z0-9_./]|[A-Za-z]", value):
        return value if parse(f"key: {value}", "")["key"] == value else json.dumps(value)
    return json.dumps(value)


def _comment(text: str) -> str:
    """`text` on one line, whatever it holds."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
