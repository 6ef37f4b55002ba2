"""Recipes: configurations that papers and documentation recommend for a kind of task, to be tried first.

`points: recipes` tries those of the spec's kind of task. A recipe keeps the names that are in the space; one with a
value that the space does not allow is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.errors import InputError
from trainables.spec import DataSpec, Params
from trainables.tasks import find_task
from tuning.space import Space

RECIPES = "recipes"  # as a point: those of the kind of task
SHORT_TEXTS = 128  # tokens at most: BERT's own limit for GLUE
FEW_ROWS = 10_000  # training rows up to which fine-tuning is known to be unstable
SMALL_TASKS = frozenset({"rte", "glue/rte", "glue/mrpc", "glue/cola", "glue/stsb", "glue/wnli"})  # of fewer rows


@dataclass(frozen=True)
class Recipe:
    """A recommended configuration.

    Args:
        name: for tables, such as "bert".
        values: by tunable name.
        source: where it is recommended.
        kinds: of tasks: all that must hold, among "classification", "regression", "short", "long" and "small".
    """

    name: str
    values: Params
    source: str
    kinds: frozenset[str] = frozenset()


ALL = (
    Recipe(
        "bert",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 32, "num_train_epochs": 3, "warmup_ratio": 0.1,
         "weight_decay": 0.01, "adam_epsilon": 1e-6, "lr_scheduler_type": "linear"},
        "Devlin et al. 2019, appendix A.3, its command for MRPC, and its optimizer: https://arxiv.org/abs/1810.04805, "
        "https://github.com/google-research/bert",
        frozenset({"classification", "short"}),
    ),
    Recipe(
        "bert_fast",
        {"learning_rate": 5e-5, "per_device_train_batch_size": 32, "num_train_epochs": 3, "warmup_ratio": 0.1,
         "weight_decay": 0.01, "adam_epsilon": 1e-6, "lr_scheduler_type": "linear"},
        "Devlin et al. 2019, appendix A.3, the largest rate recommended: https://arxiv.org/abs/1810.04805",
        frozenset({"classification", "short"}),
    ),
    Recipe(
        "bert_long_texts",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 24, "num_train_epochs": 4, "warmup_ratio": 0.1,
         "lr_scheduler_type": "linear", "data.max_length": 512},
        "Sun et al. 2019, reviews of IMDB: https://arxiv.org/abs/1905.05583, "
        "https://github.com/xuyige/BERT4doc-Classification",
        frozenset({"classification", "long"}),
    ),
    Recipe(
        "text_classification_guide",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 16, "num_train_epochs": 2, "weight_decay": 0.01},
        "the guide of transformers, reviews of IMDB: https://huggingface.co/docs/transformers/tasks/sequence_classification",
        frozenset({"classification", "long"}),
    ),
    Recipe(
        "roberta",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 16, "num_train_epochs": 10, "warmup_ratio": 0.06,
         "weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.98, "adam_epsilon": 1e-6,
         "max_grad_norm": 0.0, "lr_scheduler_type": "linear"},
        "Liu et al. 2019, table 10, and its commands for RTE and STS-B: https://arxiv.org/abs/1907.11692, "
        "https://github.com/facebookresearch/fairseq/blob/main/examples/roberta/README.glue.md",
    ),
    Recipe(
        "few_rows",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 16, "num_train_epochs": 20, "warmup_ratio": 0.1,
         "weight_decay": 0.01, "adam_epsilon": 1e-6, "lr_scheduler_type": "linear"},
        "Mosbach et al. 2021, small training sets, stable over seeds: https://arxiv.org/abs/2006.04884, "
        "https://github.com/uds-lsv/bert-stable-fine-tuning (its configuration for RTE)",
        frozenset({"small"}),
    ),
)  # fmt: skip


def kinds_of(task: str | None, data: DataSpec) -> frozenset[str]:
    """The kinds of a task, by what the spec says: no rows are read, so that every machine finds the same.

    Raises:
        TaskError: there is no such task.
    """
    found = find_task(task)
    options = found.options(data)
    longest, rows = options.max_length, options.subset.train
    few = task in SMALL_TASKS or (rows is not None and rows <= FEW_ROWS)
    length = "short" if longest is not None and longest <= SHORT_TEXTS else "long"
    return frozenset({found.kind, length, *(("small",) if few else ())})


def fitting_recipes(task: str | None, data: DataSpec, space: Space) -> Iterator[tuple[Recipe, Params]]:
    """Yields the recipes of a kind of task with the values that they have in `space`, each set of values once.

    None of a task that is not known.
    """
    try:
        kinds = kinds_of(task, data)
    except InputError:
        return
    seen = set[str]()
    for recipe in ALL:
        values = {name: recipe.values[name] for name in space.searched if name in recipe.values}
        allowed = all(space.root[name].contains(value) for name, value in values.items())
        if recipe.kinds <= kinds and values and allowed and repr(values) not in seen:
            seen.add(repr(values))
            yield recipe, values
