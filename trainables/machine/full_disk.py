"""Whether an error comes from a full disk: libraries that write files by themselves say so in words of their own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
# As safetensors says it, and anything in Rust; the system's own words; and torch.save, which has forgotten the number
# and says only that less was written than it wanted to.
WORDS = re.compile(
    r"No space left on device|\(os error (28|122)\)|Disk quota exceeded"
    r"|PytorchStreamWriter failed writing file|inline_container\.cc:\d+\] \. unexpected pos"
)


def is_full_disk(error: BaseException) -> bool:
    """True if `error`, or what it was raised for, is a full disk or a used-up quota.

    An OSError is judged by its number. Other errors are judged by their words.
    """
    return any(_says_full(cause) for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields `error` and what led to it, also through the wrapper that Ray puts around an error of another process."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "cause", None)  # a RayTaskError's
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """Let a full disk that is met in the block be an OSError with its number that names `folder`.

    Raises:
        OSError: ENOSPC, with the writer's own words.
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
