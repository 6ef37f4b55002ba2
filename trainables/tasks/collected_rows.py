"""The published rows of a task, checked and deduplicated, and the summary of the splits that are drawn from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.groups import shared_groups
from trainables.tasks.near_duplicates import near_duplicates
from trainables.tasks.sources import RawSplit, Sources, source_label
from trainables.tasks.splits import Deduplicated, LabelledRows, unread_fractions
from trainables.tasks.summary import DataSummary, SplitSummary
from trainables.tasks.usable_rows import is_hidden, with_labels

NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d+)?\s*")


class CollectedRows(NamedTuple):
    """The published rows, checked and deduplicated, before splits are drawn."""

    sources: Sources
    errors: list[TaskError]
    published: Deduplicated | None = None  # None: no row can be used
    class_names: tuple[str, ...] = ()
    positive: str | None = None  # class whose F1 is `f1`
    empty: int = 0  # rows left out because their text is empty
    sound: bool = False  # splits can be drawn

    def summary(
        self, options: DataSpec, whole: Mapping[str, LabelledRows], splits: Mapping[str, LabelledRows]
    ) -> DataSummary:
        """Summarises the splits that were drawn.

        Args:
            options: with which they were drawn.
            whole: train, validation and test before subsets were taken from them.
            splits: as trials see them.
        """
        assert self.published is not None  # nothing is drawn where no row can be used
        origins = {name: split.origin for name, split in with_labels(self.sources.splits).items()}
        if self.sources.files:  # by name: a node's cache serves copies of them in other places
            origins = {name: Path(origin).name for name, origin in origins.items()}
        return DataSummary(
            source=source_label(options),
            files=self.sources.files,
            ignored=self.sources.ignored,
            splits={
                name: split_summary(splits[name], self.class_names).model_copy(
                    update={
                        "available": len(whole[name].texts),
                        "cut": name not in origins,
                        "origin": origins.get(name, ""),
                    }
                )
                for name in ("train", "validation", "test")
            },
            duplicates=self.published.duplicates,
            contradictions=self.published.contradictions,
            empty=self.empty,
            positive=self.positive,
            near_duplicates=near_duplicates(splits),
            group=options.group,
            **shared_groups(splits),
            unread_fractions=unread_fractions(self.published.splits, options),
            **_without_labels(self.sources.splits),
        )


def split_summary(rows: LabelledRows, class_names: tuple[str, ...]) -> SplitSummary:
    """Counts the rows of a split, by class; for regression also the range of its labels."""
    numeric = sum(all(NUMBER.fullmatch(cell) for cell in text) for text in rows.texts)
    facts: dict[str, Any] = {"rows": len(rows.labels), "numeric_texts": numeric}
    if not class_names:
        return SplitSummary(**facts, value_range=(min(rows.labels), fmean(rows.labels), max(rows.labels)))
    counts = Counter(rows.labels)
    return SplitSummary(**facts, classes={name: counts[i] for i, name in enumerate(class_names)})


def _without_labels(published: Mapping[str, RawSplit]) -> dict[str, Any]:
    """The fields of a `DataSummary` about published splits without labels, and where test rows come from instead."""
    shown = with_labels(published)
    hidden = {name: len(split.texts) for name, split in published.items() if name != "train" and is_hidden(name, split)}
    instead = None
    if "test" in hidden:
        instead = "validation" if "test" in shown else "train"
    return {"unlabelled": hidden, "instead": instead}
