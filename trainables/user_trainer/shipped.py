"""Ships Python objects to slots: pickles them by value into a file that every node reaches, named `shipped:PATH`.

What is defined in a script, in `python -c` or in a notebook is included, and so are modules beside them; installed
modules, and those on PYTHONPATH, must be on each node. Data sets become references to files (`shipped_tables`).
What refers to the Trainer that was taken apart, or to its arguments, refers to the trial's when loaded (`originals`).
Metrics of `evaluate` are as newly loaded (`shipped_metrics`).
Secrets stay here: the Hub token of TrainingArguments becomes None, and `os.environ` is that of the slot.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import io
import os
import pickle
import re
import sys
from typing import Any

import cloudpickle

from trainables.errors import InputError
from trainables.spec import SHIPPED
from trainables.user_trainer import shipped_metrics, shipped_tables
from trainables.user_trainer.argument_values import without_secrets
from trainables.user_trainer.local_modules import by_value, travels_by_value
from trainables.user_trainer.originals import HeldModel, HeldTrainer, Originals
from trainables.user_trainer.shipped_files import ShippedFiles
from trainables.user_trainer.unpicklable import find_culprit


def is_shipped(name: str) -> bool:
    """True if `name` was returned by `ship`."""
    return name.startswith(SHIPPED)


def ship(obj: object, storage: str, name: str) -> str:
    """Writes an object, and each data set in it, below the storage of runs; returns its name for `load_shipped`.

    Files are named by their content: equal objects share a file, and a data set that exists is not written again.

    Args:
        obj: the object.
        storage: a folder that every node reaches, or the URI of a folder in a bucket.
        name: of the object in messages and in the name of its file, such as "trainer".

    Raises:
        InputError: a part of the object cannot be pickled, is the model of the Trainer that was taken apart, or is a
            Trainer though none was taken apart; the error names its path.
        OSError: the storage cannot be written.
    """
    files = ShippedFiles.below(storage)
    originals: Originals | None = getattr(obj, "originals", None)
    with by_value():
        try:
            data = _pickled_whole(obj, files, originals)
        except OSError:
            raise
        except HeldModel as error:
            model = originals and originals.trainer.model
            culprit = find_culprit(obj, name, lambda part: _pickled(part, files, originals, model))
            rule = "is the model of the Trainer, and each trial has a model of its own"
            step = "use the `model` that a callback's methods are given, or hold the Trainer; or pass a factory"
            raise InputError(culprit.path, type(model).__name__, rule, step) from error
        except HeldTrainer as error:
            culprit = find_culprit(obj, name, lambda part: _pickled(part, files), error.trainer)
            rule = "is a Trainer, of which the slots would have a copy that nobody trains, with its weights"
            step = "read what it is needed for into a variable first (`rows = trainer.train_dataset`), and use that"
            raise InputError(culprit.path, type(error.trainer).__name__, rule, step) from error
        except Exception as error:  # types that cannot be pickled raise various errors
            culprit = find_culprit(obj, name, lambda part: _pickled(part, files, originals))
            raise InputError(
                culprit.path,
                culprit.shown,
                f"cannot be pickled: {culprit.reason}",
                "pass a factory, a function `make_trainer(params)` that makes it anew where the trial runs",
            ) from error
    digest = hashlib.sha256(data).hexdigest()
    file = f"{re.sub('[^A-Za-z0-9_.-]', '-', name)}-{digest}.pkl"
    if not files.renew(file):
        files.write(file, lambda target: _write(data, target))
    return SHIPPED + files.at(file)


def load_shipped(name: str) -> Any:
    """Loads a new copy of an object that `ship` wrote; its data sets are memory-mapped, once per process.

    Each call creates a new object, so that no trial sees what another has done to it.

    Raises:
        InputError: the file does not exist, is another account's, is damaged, or needs a module that cannot be
            imported.
        OSError: it cannot be read.
    """
    path = name.removeprefix(SHIPPED)
    files, _ = ShippedFiles.around(path)
    try:
        return _Unpickler(io.BytesIO(_read(path)), files).load()
    except ImportError as error:
        step = "install it on every node, put it on their PYTHONPATH, or beside the script that calls the search"
        raise InputError("trainable", name, f"what it needs cannot be imported here: {error}", step) from error


@functools.lru_cache(maxsize=8)
def _read(path: str) -> bytes:
    files, name = ShippedFiles.around(path)
    data = files.local(name).read_bytes()
    if hashlib.sha256(data).hexdigest() not in name:
        raise InputError("trainable", path, "is damaged: its content is not what its name says", "search again")
    return data


def _pickled_whole(obj: object, files: ShippedFiles, originals: Originals | None) -> bytes:
    """The pickle of an object; with the Trainer's model only where `model_init` returns a model made once.

    Raises:
        HeldModel: another part refers to the model, which would be none of a trial's.
    """
    if originals is None:
        return _pickled(obj, files)
    model, model_init = originals.trainer.model, originals.trainer.model_init
    try:
        return _pickled(obj, files, originals, model)
    except HeldModel:
        try:
            _pickled(model_init, files, originals, model)
        except HeldModel:  # the trial's model_init returns the copy that those parts refer to
            return _pickled(obj, files, originals)
        raise


def _pickled(obj: object, files: ShippedFiles, originals: Originals | None = None, refused: object = None) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, files, originals, refused).dump(obj)
    return buffer.getvalue()


def _write(data: bytes, target: Any) -> None:
    target.write(data)


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    """Wraps the function with an empty `lru_cache`."""
    return functools.lru_cache(**parameters)(function)


def _is_a(kind: str, module: str, obj: object) -> bool:
    """True if the class `kind` of transformers has made `obj`; whoever has such an object has imported its module."""
    return isinstance(obj, getattr(sys.modules.get(f"transformers.{module}"), kind, ()))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions and classes by value, and tables and `originals` as references.

    Args:
        buffer: for the pickle.
        files: for tables.
        originals: see there.
        refused: the model, if nothing may refer to it.
    """

    def __init__(self, buffer: io.BytesIO, files: ShippedFiles, originals: Originals | None, refused: object) -> None:
        super().__init__(buffer)
        self._files, self._originals, self._refused = files, originals, refused
        self._put: dict[int, tuple[object, str]] = {}  # by identity: a table of many data sets is hashed once

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for functions, classes and other objects; handles caches, metrics and secrets.

        Cloudpickle would pickle an `lru_cache` wrapper by reference, to a module that workers cannot import.
        """
        if obj is os.environ:
            return getattr, (os, "environ")
        if self._originals is None and _is_a("Trainer", "trainer", obj):
            raise HeldTrainer(obj)
        if _is_a("TrainingArguments", "training_args", obj):
            return copyreg.__newobj__, (type(obj),), without_secrets(vars(obj))  # type: ignore[attr-defined]
        if isinstance(obj, functools._lru_cache_wrapper) and travels_by_value(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if shipped_metrics.is_metric(obj):
            return shipped_metrics.reduce_metric(obj)
        return super().reducer_override(obj)

    def persistent_id(self, obj: object) -> str | tuple[str, type] | None:
        """Called by pickle for each object; returns what takes its place, and None for most objects."""
        if self._refused is not None and obj is self._refused:
            raise HeldModel
        if self._originals is not None and (reference := self._originals.reference(obj)) is not None:
            return reference
        if not shipped_tables.is_table(obj):
            return None
        if id(obj) not in self._put:
            self._put[id(obj)] = (obj, shipped_tables.put_table(obj, self._files))
        return self._put[id(obj)][1]


class _Unpickler(pickle.Unpickler):
    """Loads what `_Pickler` wrote."""

    def __init__(self, buffer: io.BytesIO, files: ShippedFiles) -> None:
        super().__init__(buffer)
        self._files = files
        self._places: dict[str, Any] = {}

    def persistent_load(self, reference: str | tuple[str, type]) -> Any:
        """Called by pickle for a reference of `persistent_id`."""
        if isinstance(reference, str):
            return shipped_tables.load_table(reference, self._files)
        key, kind = reference
        return self._places.setdefault(key, object.__new__(kind))
