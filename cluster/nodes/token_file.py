"""The file of the cluster's token, and the folder that Ray works in: both closed to other accounts of the machine.

Whoever holds the token can run code on every machine of the cluster as the account that started it. So can whoever
writes into Ray's folder, where the code of jobs is unpacked: Ray makes it writable for every account of the machine.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

from cluster.capacity import ClusterError
from cluster.ray_compat.head_service import system_temporary_folder

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class TokenSource(NamedTuple):
    """The place of a node's token."""

    file: Path | None  # None: the token is in RAY_AUTH_TOKEN
    made: bool  # true if the file was made just now


def token_source(*, make: bool) -> TokenSource:
    """Finds the token that Ray will read: RAY_AUTH_TOKEN, else the file of RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token.

    Args:
        make: write a new token if there is none, as a head may; a worker needs the head's own.

    Raises:
        ClusterError: there is none, it is empty, or its file is open to others.
    """
    if os.environ.get(TOKEN):
        return TokenSource(None, made=False)
    file = Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")
    if not make and not file.exists():
        raise ClusterError(
            f"{file}: there is no token, and a worker needs the head's own. Copy that file from the head to here "
            f"(mode 0600), or name another one with {TOKEN_PATH}."
        )
    made = make and _make(file)
    _refuse_open(file)
    return TokenSource(file, made)


def _make(file: Path) -> bool:
    """Writes a new token to `file`, which has mode 0600 from the start; returns False if the file exists."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with open(descriptor, "w") as opened:
        opened.write(secrets.token_hex(32))
        opened.flush()
        os.fsync(opened.fileno())
    return True


def _refuse_open(file: Path) -> None:
    """Refuses a token file of this account that others may read, as ssh does; mounted secrets are accepted.

    The mode is not corrected: whether others have read the token meanwhile is for its owner to judge.
    """
    try:
        status, empty = file.stat(), not file.read_text().strip()
    except OSError as error:
        raise ClusterError(f"{file}: the token cannot be read: {error.strerror}. Check its owner and mode.") from error
    if empty:
        raise ClusterError(f"{file}: holds no token. Delete it on the head, where a new one is then made.")
    if status.st_uid == os.getuid() and status.st_mode & OTHERS:
        raise ClusterError(
            f"{file}: mode {stat.S_IMODE(status.st_mode):04o}, but nobody else may read a token: it runs code on every "
            f"machine of the cluster. If nobody else could reach it, `chmod 600 {file}`; if in doubt, delete it: the "
            "next `tunefleet cluster start --head` makes a new one. (Ray's own ray.init() writes it with mode 0644.)"
        )


def ray_folder(*, make: bool) -> Path:
    """Returns Ray's folder for the nodes of this account, below one of mode 0700 in the system's temporary folder.

    Args:
        make: create the folder of mode 0700 if it does not exist.

    Raises:
        ClusterError: another account has made it first, or may enter it.
    """
    closed = system_temporary_folder() / f"tunefleet-{os.getuid()}"
    if make:
        closed.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(closed):
        status = closed.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & OTHERS:
            raise ClusterError(
                f"{closed}: is not a folder of this account's alone (mode 0700), and Ray's code would lie in it. "
                "Remove it, or name another place with RAY_TMPDIR."
            )
    return closed / "ray"
