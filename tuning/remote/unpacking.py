"""What of a parcel is let into this machine. Whoever runs the cluster wrote it; the account that fetches it must lose
nothing by it.

Files are written here one by one, each where `tuning.remote.bundle` says that such a file lies and of a kind that only
a reader reads: nothing that is unpickled or imported, no link, nothing outside. All else is a `BundleError`, save
weights of other kinds than safetensors, which honest trainables save: they are left out and named.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from cluster.capacity import ClusterError
from cluster.jobs.route import printable
from tuning.remote.bundle import BEST, PART_BYTES, TEXTS, BundlePart, Manifest
from tuning.run_folder.files import spec_with_checksum
from tuning.spec.file import dump, parse
from tuning.spec.models import SPEC_FILE, STORE_FILE

MOST_PARTS = 100_000  # as many as their names can number
MANIFEST_BYTES = 32 << 20
# Of the weights' folder: what transformers and tokenizers read without running any of it.
SAFE_SUFFIXES = {
    ".safetensors",
    ".json",
    ".jsonl",
    ".yaml",
    ".txt",
    ".md",
    ".csv",
    ".jinja",
    ".model",
    ".vocab",
    ".bpe",
}
# Of a spec's `cluster`: what says nothing of whom to talk to.
SHARES = ("cpus_per_trial", "gpus_per_trial", "mps", "max_concurrent", "heartbeat_seconds")


class BundleError(ClusterError):
    """A cluster sends something that no tunefleet has packed."""


def read_manifest(text: bytes) -> Manifest:
    """Reads a manifest, as `Manifest.json` wrote it.

    Raises:
        ValueError: it is no JSON: not all of it has come.
        ParcelError: it is JSON, but no manifest.
    """
    try:
        raw = json.loads(text)
    except RecursionError as error:
        raise BundleError(
            "the manifest of what was fetched is no manifest. Does another program answer there?"
        ) from error
    try:
        parts = tuple(_part(number, part) for number, part in enumerate(_listed(raw["parts"])))
        return Manifest(parts, _printable(raw.get("best")), _printable(raw.get("error")))
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"the manifest of what was fetched is no manifest: {error!r}. Does the cluster run another tunefleet?"
        ) from error


def _listed(parts: Any) -> Sequence[Any]:
    if not isinstance(parts, list) or len(parts) > MOST_PARTS:
        raise TypeError("parts")
    return parts


def _part(number: int, raw: Mapping[str, Any]) -> BundlePart:
    name, size, sha256 = (raw[key] for key in ("name", "size", "sha256"))
    if name != f"part-{number:05d}":
        raise BundleError(f"the manifest names {name!r} as part {number}, where part-{number:05d} is expected")
    if type(size) is not int or not 0 < size <= PART_BYTES:
        raise BundleError(f"{name}: {size!r} bytes, but a part has 1 to {PART_BYTES}")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise BundleError(f"{name}: its digest is none")
    return BundlePart(name, size, sha256)


def _printable(text: Any) -> str | None:
    return None if text is None else printable(str(text))


def unpack(whole: Path, name: str, folder: Path, *, trusted: bool) -> list[str]:
    """Write the files of the tar `whole`, of the experiment `name`, into FOLDER/NAME.

    Args:
        trusted: also weights of kinds that may run code when they are loaded.

    Returns:
        The names of files that were left out.

    Raises:
        ParcelError: something in it is not what a parcel holds; FOLDER may hold a part of it then.
        OSError: the disk cannot be written.
    """
    left_out, seen = [], set()
    try:
        with tarfile.open(whole, "r:") as tar:  # not compressed: it holds no more bytes than came
            for member in tar:
                kind = _kind(member, name)
                if member.name in seen:
                    raise BundleError(f"{member.name!r} is in the parcel twice")
                seen.add(member.name)
                if kind == BEST and PurePosixPath(member.name).suffix not in SAFE_SUFFIXES and not trusted:
                    left_out.append(member.name.removeprefix(f"{name}/"))
                    continue
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as written:
                    shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(member)), written)
    except tarfile.TarError as error:
        raise BundleError(f"what was fetched is no parcel: {error}") from error
    if missing := [file for file in (SPEC_FILE, STORE_FILE) if f"{name}/{file}" not in seen]:
        raise BundleError(f"the parcel of {name} holds no {' and no '.join(missing)}")
    return left_out


def _kind(member: tarfile.TarInfo, name: str) -> str:
    """The first word of its place below NAME.

    Raises:
        ParcelError: a parcel holds no such thing.
    """
    shown = repr(member.name)
    if not member.isreg() or member.issparse():
        raise BundleError(f"{shown} in the parcel is no plain file")
    first, *below = member.name.split("/")
    known = first == name and below and all(_is_plain(part) for part in below)
    if not known:
        raise BundleError(f"{shown} in the parcel lies outside {name}")
    kind = below[0]
    fits = {
        SPEC_FILE: len(below) == 1,
        STORE_FILE: len(below) == 1,
        "studies": len(below) > 1 and PurePosixPath(member.name).suffix in TEXTS,
        BEST: len(below) == 2,
    }
    if not fits.get(kind, False):
        raise BundleError(f"{shown} is no file that a parcel holds")
    return kind


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part and len(part.encode()) < 256


def sanitize_spec(file: Path, name: str, *, trusted: bool) -> bool:
    """Rewrite the spec of a fetched experiment so that it names nobody to talk to and lets no code of others run.

    Args:
        trusted: `trust_remote_code` stays as it is.

    Returns:
        Whether it let a model's own code run.

    Raises:
        ParcelError: it is no spec of the experiment `name`.
    """
    try:
        raw = parse(file.read_text(encoding="utf-8"), SPEC_FILE)
    except ValueError as error:
        raise BundleError(f"{SPEC_FILE} of the parcel cannot be read: {error}") from error
    if raw.get("name") != name:
        raise BundleError(f"{SPEC_FILE} of the parcel is of the experiment {raw.get('name')!r}, not {name!r}")
    cluster = raw.get("cluster")
    shares = {key: cluster[key] for key in SHARES if key in cluster} if isinstance(cluster, dict) else {}
    opened = raw.get("trust_remote_code") not in (None, False)
    closed = raw | {"cluster": shares, "store": None}
    if opened and not trusted:
        closed |= {"trust_remote_code": False}
    file.write_text(spec_with_checksum(dump(closed)), encoding="utf-8")
    return opened
