"""Reads the splits of a Hub data set, through the cache below HF_HOME. Code of the data set is never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.errors import nearest
from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.files import ALIASES
from trainables.tasks.tables import RawTable


def read_hub(options: DataSpec, wanted: list[str]) -> dict[str, RawTable]:
    """Reads the `wanted` columns of train, validation and test, as far as they exist.

    Raises:
        TaskError: the data set cannot be loaded, or a named split or the training split does not exist.
    """
    from datasets import ClassLabel

    found = load_hub(str(options.hub), options.config, options.revision)
    tables = {}
    for split, aliases in ALIASES.items():
        named = getattr(options, split)
        if named is not None and named not in found:
            raise TaskError(f"data.{split}", named, f"{options.hub} has no such split", nearest(named, found))
        name = named or next((alias for alias in aliases if alias in found), None)
        if name is None and split == "train":
            raise TaskError("data.train", None, f"{options.hub} has no split of that name", nearest("train", found))
        if name is not None:
            features = found[name].features
            kept = [column for column in features if column in wanted]
            names = {c: tuple(features[c].names) for c in kept if isinstance(features[c], ClassLabel)}
            tables[split] = RawTable(
                found[name].select_columns(kept).with_format("arrow")[:].to_pydict(), names, list(features)
            )
    return tables


def load_hub(hub: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    """Loads all splits by their names on the Hub, with all columns.

    Raises:
        TaskError: the Hub has no such data set or configuration, or is unreachable and the cache lacks it.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        found: Mapping[str, Any] = load_dataset(hub, config, revision=revision)
    except DatasetNotFoundError as error:
        step = "check data.hub and data.revision; a gated one needs `hf auth login` on every node"
        raise TaskError("data.hub", hub, "the Hub has no such data set, or you may not read it", step) from error
    except OSError as error:
        step = (
            "connect, point HF_HOME to a cache that holds it (with HF_HUB_OFFLINE=1), "
            "or set data.path to a local copy (a folder with train.parquet, ...)"
        )
        raise TaskError("data.hub", hub, f"cannot be reached and is not in the cache: {error}", step) from error
    except ValueError as error:
        reason = " ".join(str(error).split())  # it lists the configurations on further lines
        raise TaskError(
            "data.config", config, f"{hub} cannot be loaded with it: {reason}", "set data.config"
        ) from error
    return found
