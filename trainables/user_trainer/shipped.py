"""Python objects on their way to the slots: pickled by value into a file that every node reaches, named `shipped:PATH`.

What is defined in a script, in `python -c` or in a notebook's cell goes along, and so do modules that lie beside them;
installed ones, and those on PYTHONPATH, must be on each node. Data sets travel as names of files (`shipped_tables`).
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import re
from typing import Any

import cloudpickle

from trainables.errors import InputError
from trainables.spec import SHIPPED
from trainables.user_trainer import shipped_tables
from trainables.user_trainer.local_modules import by_value, travels_by_value
from trainables.user_trainer.shipped_files import ShippedFiles
from trainables.user_trainer.unpicklable import find_culprit


def is_shipped(name: str) -> bool:
    """True if a name is of what `ship` has written."""
    return name.startswith(SHIPPED)


def ship(obj: object, storage: str, name: str) -> str:
    """Write an object, and each data set in it, below the storage of runs; returns the name that `load_shipped` takes.

    Equal bytes are one file, and a data set that is there already is not written again, whoever has written it.

    Args:
        storage: a folder that every node reaches, or the URI of a folder in a bucket.
        name: what the object is called in messages and in the name of its file, such as "trainer".

    Raises:
        InputError: a part of it cannot be pickled: which one, by its path.
        OSError: the storage cannot be written.
    """
    files = ShippedFiles.below(storage)
    with by_value():
        try:
            data = _pickled(obj, files)
        except OSError:
            raise
        except Exception as error:  # each type has its own way to refuse
            culprit = find_culprit(obj, name, lambda part: _pickled(part, files))
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
    """A new copy of the object that `ship` has named so; data sets in it are mapped, once per process.

    Each call makes the object anew, so that no trial finds what another has done to it.

    Raises:
        InputError: it is not there, is another account's, is damaged, or needs a module that this machine lacks.
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


def _pickled(obj: object, files: ShippedFiles) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, files).dump(obj)
    return buffer.getvalue()


def _write(data: bytes, target: Any) -> None:
    target.write(data)


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    """The function with a cache, which is empty."""
    return functools.lru_cache(**parameters)(function)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions and classes by value, and tables as the names of their files."""

    def __init__(self, buffer: io.BytesIO, files: ShippedFiles) -> None:
        super().__init__(buffer)
        self._files = files
        self._put: dict[int, tuple[object, str]] = {}  # by identity: a table of many data sets is hashed once

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for each object without a way of its own: functions, classes, and caches around functions,
        which cloudpickle would look for in their module by name."""
        if isinstance(obj, functools._lru_cache_wrapper) and travels_by_value(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        return super().reducer_override(obj)

    def persistent_id(self, obj: object) -> str | None:
        """Called by pickle for each object; None: pickled as usual."""
        if not shipped_tables.is_table(obj):
            return None
        if id(obj) not in self._put:
            self._put[id(obj)] = (obj, shipped_tables.put_table(obj, self._files))
        return self._put[id(obj)][1]


class _Unpickler(pickle.Unpickler):
    """The other way round."""

    def __init__(self, buffer: io.BytesIO, files: ShippedFiles) -> None:
        super().__init__(buffer)
        self._files = files

    def persistent_load(self, name: str) -> Any:
        """Called by pickle for what `persistent_id` has named."""
        return shipped_tables.load_table(name, self._files)
