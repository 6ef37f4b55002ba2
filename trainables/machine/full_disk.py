"""Recognises errors that come from a full disk, also those of libraries that report it in words of their own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
# The messages of safetensors and other Rust libraries; of the system; and of torch.save, which drops the error number
# and reports only that too little was written.
WORDS = re.compile(
    r"No space left on device|\(os error (28|122)\)|Disk quota exceeded"
    r"|PytorchStreamWriter failed writing file|inline_container\.cc:\d+\] \. unexpected pos"
)


def is_full_disk(error: BaseException) -> bool:
    """True if `error`, or a cause of it, is a full disk or an exceeded quota.

    An OSError is judged by its number, other errors by their message.
    """
    return any(_says_full(cause) for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields `error` and its causes, also through Ray's wrapper around an error of another process."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "cause", None)  # a RayTaskError's
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """Converts an error of the block that means a full disk into an OSError that names `folder`.

    Raises:
        OSError: with the number ENOSPC and the original message.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error) or (isinstance(error, OSError) and error.filename):
            raise
        words = " ".join(str(error).split())
        raise OSError(errno.ENOSPC, f"No space left on device ({words})", str(folder)) from error


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return WORDS.search(str(error)) is not None
