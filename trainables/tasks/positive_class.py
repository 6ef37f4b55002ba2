"""The positive class of a task of two classes: the one whose F1 is the score `f1`."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.errors import nearest
from trainables.tasks import TaskError
from trainables.tasks.splits import LabelledRows


def positive_class(
    asked: str | None, class_names: Sequence[str], known: bool, train: LabelledRows
) -> tuple[str | None, list[TaskError]]:
    """The name of the positive class, or what is wrong with the one that was asked for.

    By default the second, where the source or the preset names the classes by id (as GLUE counts them); else the rarer
    one of the training rows, and of two equally rare ones the last.
    """
    if asked is not None and asked not in class_names:
        return None, [TaskError("data.positive", asked, "is none of the classes", nearest(asked, class_names))]
    if len(class_names) != 2:
        if asked is None:
            return None, []
        rule = f"there are {len(class_names)} classes, and `f1` is the mean over all of them"
        return None, [TaskError("data.positive", asked, rule, "remove it")]
    if asked is not None:
        return asked, []
    counts = [train.labels.count(i) for i in (0, 1)]
    return class_names[0 if not known and counts[0] < counts[1] else 1], []
