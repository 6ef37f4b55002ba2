"""Unpacks a bundle that an untrusted cluster has sent, so that it can harm nothing on this machine.

Files are written one by one, each at a path that `tuning.remote.bundle` uses and in a format that is only read: nothing
that is unpickled or imported, no link, nothing outside the folder. Everything else is a `BundleError`, except for
weights in other formats than safetensors, which honest trainables save: they are left out and named.
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

MOST_PARTS = 100_000  # as many as their names can count
MANIFEST_BYTES = 32 << 20
# Formats in the weights' folder that transformers and tokenizers read without running any code.
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
# Keys of a spec's `cluster` that name no address.
SHARES = ("cpus_per_trial", "gpus_per_trial", "mps", "max_concurrent", "heartbeat_seconds")


class BundleError(ClusterError):
    """A cluster has sent something that no tunefleet packs."""


def read_manifest(text: bytes) -> Manifest:
    """Reads a manifest, as `Manifest.json` wrote it.

    Raises:
        ValueError: it is no JSON, as not all of it has arrived.
        BundleError: it is JSON, but no manifest.
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
    """Writes the files of the tar `whole`, of the experiment `name`, into FOLDER/NAME.

    Args:
        whole: path of the tar.
        name: of the experiment.
        folder: of this fetch.
        trusted: write also weights in formats that may run code when they are loaded.

    Returns:
        The names of files that were left out.

    Raises:
        BundleError: it holds something else than a bundle; FOLDER may then hold a part of it.
        OSError: the disk cannot be written.
    """
    left_out, seen = [], set()
    try:
        with tarfile.open(whole, "r:") as tar:  # not compressed: it holds no more bytes than arrived
            for member in tar:
                kind = _kind(member, name)
                if member.name in seen:
                    raise BundleError(f"{member.name!r} is in the bundle twice")
                seen.add(member.name)
                if kind == BEST and PurePosixPath(member.name).suffix not in SAFE_SUFFIXES and not trusted:
                    left_out.append(member.name.removeprefix(f"{name}/"))
                    continue
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as written:
                    shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(member)), written)
    except tarfile.TarError as error:
        raise BundleError(f"what was fetched is no bundle: {error}") from error
    if missing := [file for file in (SPEC_FILE, STORE_FILE) if f"{name}/{file}" not in seen]:
        raise BundleError(f"the bundle of {name} holds no {' and no '.join(missing)}")
    return left_out


def _kind(member: tarfile.TarInfo, name: str) -> str:
    """Returns the first part of a member's path below NAME.

    Raises:
        BundleError: no bundle holds such a file.
    """
    shown = repr(member.name)
    if not member.isreg() or member.issparse():
        raise BundleError(f"{shown} in the bundle is no plain file")
    first, *below = member.name.split("/")
    known = first == name and below and all(_is_plain(part) for part in below)
    if not known:
        raise BundleError(f"{shown} in the bundle lies outside {name}")
    kind = below[0]
    fits = {
        SPEC_FILE: len(below) == 1,
        STORE_FILE: len(below) == 1,
        "studies": len(below) > 1 and PurePosixPath(member.name).suffix in TEXTS,
        BEST: len(below) == 2,
    }
    if not fits.get(kind, False):
        raise BundleError(f"{shown} is no file of a bundle")
    return kind


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part and len(part.encode()) < 256


def sanitize_spec(file: Path, name: str, *, trusted: bool) -> bool:
    """Rewrites the spec of a fetched experiment so that it names no address and runs no remote code.

    Args:
        file: the spec.
        name: of the experiment.
        trusted: keep `trust_remote_code` as it is.

    Returns:
        True if the spec allowed a model's own code to run.

    Raises:
        BundleError: it is no spec of the experiment `name`.
    """
    try:
        raw = parse(file.read_text(encoding="utf-8"), SPEC_FILE)
    except ValueError as error:
        raise BundleError(f"{SPEC_FILE} of the bundle cannot be read: {error}") from error
    if raw.get("name") != name:
        raise BundleError(f"{SPEC_FILE} of the bundle is of the experiment {raw.get('name')!r}, not {name!r}")
    cluster = raw.get("cluster")
    shares = {key: cluster[key] for key in SHARES if key in cluster} if isinstance(cluster, dict) else {}
    opened = raw.get("trust_remote_code") not in (None, False)
    closed = raw | {"cluster": shares, "store": None}
    if opened and not trusted:
        closed |= {"trust_remote_code": False}
    file.write_text(spec_with_checksum(dump(closed)), encoding="utf-8")
    return opened
