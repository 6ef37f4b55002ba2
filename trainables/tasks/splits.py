"""Draws three disjoint splits from the published ones.

Rows are drawn in the order of a hash of the seed and their text. So a split depends neither on the order of rows in a
file nor on a library's random generator, and a smaller subset is contained in a larger one. Draws are stratified.

A text (or pair) occurs in one split only: in test rather than validation, in validation rather than train, and in train
once. Published validation and test splits are otherwise unchanged, so that scores compare with published ones. With
`data.group` a split that is drawn here consists of whole groups, in the order of a hash of their names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.wording import some


class LabelledRows(NamedTuple):
    """Texts, their labels (class ids, or numbers), and the groups that must not be divided."""

    texts: list[tuple[str, ...]]
    labels: list[float]
    groups: list[str] | None = None  # None: no groups

    def take(self, indices: Sequence[int]) -> LabelledRows:
        """The rows at `indices`, in that order."""
        groups = None if self.groups is None else [self.groups[i] for i in indices]
        return LabelledRows([self.texts[i] for i in indices], [self.labels[i] for i in indices], groups)


class Deduplicated(NamedTuple):
    """The published rows, each text in one split only."""

    splits: dict[str, LabelledRows]  # train, and validation and test if they were published with labels
    duplicates: int  # rows that were removed because their text is in a split already
    contradictions: int  # distinct texts that were published with more than one label


def split_errors(
    published: Mapping[str, LabelledRows], options: DataSpec, class_names: Sequence[str]
) -> list[TaskError]:
    """Returns what is wrong with the sizes in `options`; takes the arguments of `cut_splits`.

    Both fractions leave no row; a class has too few rows or groups for each split; a subset is larger than its split,
    or smaller than the number of classes; a split is empty; or `split_seed` is set although the validation split is
    published.
    """
    stratified = bool(class_names)
    if options.split_seed is not None and "validation" in published:
        rule = "the validation split is published, and stays as it is: there is no cut to draw"
        step = "remove it; or leave that split out (data.validation), so that one is cut from train"
        return [TaskError("data.split_seed", options.split_seed, rule, step)]
    counts = {name: _strata(rows, stratified) for name, rows in published.items()}
    left, cuts = published["train"], _cuts(published, options, counts["train"].total())
    if len(cuts) > 1 and (errors := fraction_errors(options)):
        return errors
    for name, size, fraction in cuts:
        errors = _shortage(counts["train"], size, class_names, f"data.{name}_fraction", fraction, keep=1)
        if errors:  # later errors would be consequences
            return errors
        if left.groups is None:
            counts[name] = Counter(allocate(counts["train"], size, 1))
            counts["train"] -= counts[name]
            continue
        cut, left = _draw_groups(left, size, seed_of(options, name), stratified)
        if errors := _undivided(published["train"], cut, options, class_names):
            return errors
        counts[name], counts["train"] = _strata(cut, stratified), _strata(left, stratified)
    found = []
    for name in ("train", "validation", "test"):
        size, rows = getattr(options.subset, name), counts[name].total()
        if not rows:
            rule = "has no row left after those that stand in another split are taken out"
            found.append(TaskError(f"data.{name}", name, rule, "check that the files of the splits differ"))
        elif size is not None and size > rows:
            rule = f"the {name} split has {rows} rows"
            found.append(TaskError(f"data.subset.{name}", size, rule, "ask for fewer, or null for all"))
        elif size is not None:
            found += _shortage(counts[name], size, class_names, f"data.subset.{name}", size, keep=0)
    return found


def fraction_errors(options: DataSpec) -> list[TaskError]:
    """Returns an error if validation and test, both cut from train, would leave no row of it."""
    if options.validation_fraction + options.test_fraction < 1:
        return []
    rule = f"with test_fraction {options.test_fraction:g} it leaves no row to train on"
    return [TaskError("data.validation_fraction", options.validation_fraction, rule, "lower one of them")]


def cut_splits(
    published: Mapping[str, LabelledRows], options: DataSpec, class_names: Sequence[str]
) -> dict[str, LabelledRows]:
    """Cuts what was not published of validation and test from train; `split_errors` of the same arguments is empty.

    Args:
        published: `train`, and `validation` and `test` if they have labels, without duplicates. Missing ones are drawn
            from train, with `options.test_fraction` and `options.validation_fraction` of the published training rows.
        options: fractions, seeds.
        class_names: by class id; empty for regression, which is not stratified.
    """
    splits, stratified = dict(published), bool(class_names)
    for name, size, _ in _cuts(published, options, len(splits["train"].texts)):
        rows, seed = splits["train"], seed_of(options, name)
        if rows.groups is None:
            splits[name], splits["train"] = _draw(rows, size, seed, stratified, keep=1)
        else:
            splits[name], splits["train"] = _draw_groups(rows, size, seed, stratified)
    return splits


def draw_subsets(
    splits: Mapping[str, LabelledRows], options: DataSpec, class_names: Sequence[str]
) -> dict[str, LabelledRows]:
    """Draws `options.subset` of each split that `cut_splits` returns; all of its rows where that is unset."""
    drawn, stratified = dict(splits), bool(class_names)
    for name, rows in splits.items():
        if (size := getattr(options.subset, name)) is not None:
            drawn[name], _ = _draw(rows, size, seed_of(options, name), stratified, keep=0)
    return drawn


def unread_fractions(published: Collection[str], options: DataSpec) -> dict[str, float]:
    """The fractions that `options` sets, other than the default, and that cut nothing, by split: it is published."""
    fields = DataSpec.model_fields
    fractions = {name: getattr(options, f"{name}_fraction") for name in ("validation", "test") if name in published}
    return {name: part for name, part in fractions.items() if part != fields[f"{name}_fraction"].default}


def seed_of(options: DataSpec, split: str) -> int:
    """The seed of a split's draw; `data.split_seed` does not affect the test rows, which all search seeds share."""
    own = options.split_seed
    return own if isinstance(own, int) and split != "test" else options.seed


def deduplicate(published: Mapping[str, LabelledRows]) -> Deduplicated:
    """Removes rows whose text is in another split (test before validation before train), or earlier in train."""
    seen: set[tuple[str, ...]] = set()
    kept = {}
    for name in ("test", "validation", "train"):
        if name not in published:
            continue
        texts = published[name].texts
        fresh = [i for i, text in enumerate(texts) if text not in seen]
        if name == "train":
            first = {texts[i]: i for i in reversed(fresh)}
            fresh = sorted(first.values())
        kept[name] = published[name].take(fresh)
        seen.update(kept[name].texts)
    left_out = sum(len(rows.texts) - len(kept[name].texts) for name, rows in published.items())
    return Deduplicated(kept, left_out, _contradictions(published))


def _contradictions(published: Mapping[str, LabelledRows]) -> int:
    first: dict[tuple[str, ...], float] = {}
    pairs = chain.from_iterable(zip(rows.texts, rows.labels, strict=True) for rows in published.values())
    return len({text for text, label in pairs if first.setdefault(text, label) != label})


def _cuts(published: Mapping[str, LabelledRows], options: DataSpec, total: int) -> list[tuple[str, int, float]]:
    """The splits to be drawn from train, as (name, number of rows, fraction)."""
    fractions = {"test": options.test_fraction, "validation": options.validation_fraction}
    return [(name, max(1, round(part * total)), part) for name, part in fractions.items() if name not in published]


def _strata(rows: LabelledRows, stratified: bool) -> Counter[int]:
    return Counter(int(label) if stratified else 0 for label in rows.labels)


def _shortage(
    counts: Counter[int], size: int, class_names: Sequence[str], option: str, value: float, keep: int
) -> list[TaskError]:
    """Returns errors if a class cannot have a row in the draw and `keep` rows left over."""
    found = []
    if few := [stratum for stratum, count in sorted(counts.items()) if count < 1 + keep]:
        step = "add rows, remove the class, or give validation and test their own files"
        name = class_names[few[0]] if class_names else f"{counts[few[0]]} row"
        others = f" (so have {some(class_names[i] for i in few[1:])})" if len(few) > 1 else ""
        rule = f"has {counts[few[0]]} row left to cut from: each split needs one{others}"
        found.append(TaskError("data.label", name, rule, step))
    if size < len(counts):
        rule = f"gives {size} of {counts.total()} rows, and there are {len(counts)} classes"
        found.append(TaskError(option, value, rule, "raise it to at least one row per class"))
    return found


def _draw(rows: LabelledRows, size: int, seed: int, stratified: bool, keep: int) -> tuple[LabelledRows, LabelledRows]:
    """Draws `size` rows; returns them and the others, of which at least `keep` are of each class."""
    places = [_place(seed, text) for text in rows.texts]
    strata = [int(label) if stratified else 0 for label in rows.labels]
    counts = Counter(strata)
    open_places = allocate(counts, size, keep)
    drawn: list[int] = []
    rest: list[int] = []
    for i in sorted(range(len(places)), key=places.__getitem__):
        (drawn if open_places[strata[i]] > 0 else rest).append(i)
        open_places[strata[i]] -= 1
    return _mixed(rows, drawn, rest, places.__getitem__)


def _mixed(
    rows: LabelledRows, drawn: list[int], rest: list[int], place: Callable[[int], bytes]
) -> tuple[LabelledRows, LabelledRows]:
    """Reorders both parts: in the order of the draw, the others would begin with the class that was complete first."""
    mixed = [sorted(part, key=lambda i: place(i)[::-1]) for part in (drawn, rest)]
    return rows.take(mixed[0]), rows.take(mixed[1])


def _draw_groups(rows: LabelledRows, size: int, seed: int, stratified: bool) -> tuple[LabelledRows, LabelledRows]:
    """Draws about `size` rows in whole groups; returns them and the others.

    A group is taken if that brings the classes closer to their shares of `size` and leaves a row of each class over. A
    class that has no row then gets its first group that can be spared; `_undivided` reports if there is none.
    """
    strata = [int(label) if stratified else 0 for label in rows.labels]
    members: dict[str, list[int]] = {}
    for i, group in enumerate(rows.groups or ()):
        members.setdefault(group, []).append(i)
    counts = {group: Counter(strata[i] for i in inside) for group, inside in members.items()}
    left = Counter(strata)
    wanted = Counter(allocate(left, size, 1))
    missing, taken = set(left), set()
    order = sorted(members, key=lambda group: _place(seed, ("group", group)))

    def spared(group: str) -> bool:
        return group not in taken and all(left[s] > n for s, n in counts[group].items())

    def take(group: str) -> None:
        taken.add(group)
        for part in (wanted, left):
            part.subtract(counts[group])
        missing.difference_update(counts[group])

    for group in order:
        if sum(abs(wanted[s] - n) - abs(wanted[s]) for s, n in counts[group].items()) < 0 and spared(group):
            take(group)
    for stratum in sorted(missing):
        first = next((group for group in order if counts[group][stratum] and spared(group)), None)
        if first is not None and stratum in missing:
            take(first)
    drawn = [i for group, inside in members.items() if group in taken for i in inside]
    rest = [i for group, inside in members.items() if group not in taken for i in inside]
    return _mixed(rows, drawn, rest, lambda i: _place(seed, rows.texts[i]))


def _undivided(
    train: LabelledRows, cut: LabelledRows, options: DataSpec, class_names: Sequence[str]
) -> list[TaskError]:
    """Returns an error if no group could be drawn for some class."""
    strata = _strata(train, bool(class_names))
    if (lost := next((s for s in sorted(strata) if not _strata(cut, bool(class_names))[s]), None)) is None:
        return []
    names = {g for g, label in zip(train.groups or (), train.labels, strict=True) if not class_names or label == lost}
    of = f" of {class_names[lost]!r}" if class_names else ""
    rule = f"has too few groups of rows{of} ({len(names)}): each split that is cut needs one, and leaves one over"
    step = "choose a column with smaller groups, or give validation and test their own files"
    return [TaskError("data.group", options.group, rule, step)]


def allocate(counts: Mapping[int, int], size: int, keep: int) -> dict[int, int]:
    """Divides `size` rows among strata in proportion to `counts`, by largest remainder.

    Each stratum gets at least one row, and keeps at least `keep`. `size` must be at least the number of strata.
    """
    total = sum(counts.values())
    exact = {s: size * count / total for s, count in counts.items()}
    taken = {s: min(max(1, int(exact[s])), count - keep) for s, count in counts.items()}
    while sum(taken.values()) < size and (free := [s for s in taken if taken[s] < counts[s] - keep]):
        taken[max(free, key=lambda s: (exact[s] - taken[s], -s))] += 1
    while sum(taken.values()) > size:
        taken[min((s for s in taken if taken[s] > 1), key=lambda s: (exact[s] - taken[s], s))] -= 1
    return taken


def _place(seed: int, text: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *text)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
