"""A trial that could not write to the storage because its disk is full has not failed: any other would as well."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ray.exceptions import RayTaskError

from tuning.states.durable import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)


def full_disk(error: BaseException, folder: str) -> StorageError | None:
    """What to say, if `error` comes from a full disk below `folder`; else None.

    Args:
        error: as Tune gets it from a trial. What Tune itself copies to the storage names no file.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in FULL and str(cause.filename or folder).startswith(folder):
            return StorageError(
                f"cluster.storage: a trial cannot write to {cause.filename or folder}: {cause}. Make room there."
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.cause if isinstance(error, RayTaskError) else error.__cause__ or error.__context__
