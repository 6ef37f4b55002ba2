"""Chooses the positive class of a binary task: the one whose F1 is the score `f1`."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.errors import nearest
from trainables.tasks import TaskError
from trainables.tasks.splits import LabelledRows


def positive_class(
    asked: str | None, class_names: Sequence[str], known: bool, train: LabelledRows
) -> tuple[str | None, list[TaskError]]:
    """Returns the name of the positive class (None unless there are two classes), and errors about `asked`.

    By default it is the second class if the source or the preset defines the ids (as in GLUE); else the rarer class of
    the training rows, the second if both are equally frequent.

    Args:
        asked: the option `data.positive`.
        class_names: by class id.
        known: the source or the preset defines the class ids.
        train: the training rows.
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
