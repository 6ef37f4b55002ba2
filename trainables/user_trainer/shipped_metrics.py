"""Reduces metrics of Hugging Face's library `evaluate` for pickle: loaded, they are as if they had not computed yet.

A metric that has computed, such as in a baseline `trainer.evaluate()`, holds locks and files of its process. Read
against evaluate 0.4; nothing here imports it, because whoever has such an object has done so.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIBRARY = "evaluate.module"
FOLDER = "_data_dir_root"  # attribute: where a metric's process writes rows; by default in the home of an account
# Attributes that a metric's constructor sets to None: rows, and the files and locks behind them.
OF_AN_EVALUATION = frozenset(
    {
        *("selected_feature_format", "data", "writer", "buf_writer"),
        *("cache_file_name", "file_paths", "filelock", "filelocks", "rendez_vous_lock"),
    }
)


def is_metric(obj: object) -> bool:
    """True if `obj` is a metric, a comparison or a measurement of `evaluate`."""
    return isinstance(obj, getattr(sys.modules.get(LIBRARY), "EvaluationModule", ()))


def reduce_metric(metric: Any) -> tuple[Any, ...]:
    """Reduces a metric for pickle, without what an evaluation has left in it."""
    state = {name: None if name in OF_AN_EVALUATION else value for name, value in vars(metric).items()}
    del state["data_dir"]  # it follows from the other
    if state[FOLDER] == _default_folder():
        del state[FOLDER]
    return copyreg.__newobj__, (type(metric),), state, None, None, _set_up  # type: ignore[attr-defined]


def _set_up(metric: Any, state: Mapping[str, Any]) -> None:
    """Called by pickle with a new object: sets its attributes, and makes its folder on this machine."""
    vars(metric).update({FOLDER: _default_folder(), **state})
    metric.data_dir = metric._build_data_dir()


def _default_folder() -> str:
    return str(Path(sys.modules[LIBRARY].config.HF_METRICS_CACHE).expanduser())
