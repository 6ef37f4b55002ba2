"""Checksums of the files of a state, in one more file beside them: written with the state, copied with it, and asked
before anybody goes on from it or scores it.

XXH3: 270 MB of weights and moments take 30 ms; CRC-32 or SHA-256 would take ten times that, at each report.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import xxhash

CHECKSUMS = "checksums.tunefleet.json"
BLOCK = 1 << 20  # bytes; stays in the processor's cache


class DamagedCheckpoint(OSError):
    """A file of a checkpoint is not what was written."""


def write_checksums(folder: Path) -> None:
    """Of all files in and below `folder`, which is complete."""
    (folder / CHECKSUMS).write_text(json.dumps({str(path): _measured(folder / path) for path in _files(folder)}))


def damage(folder: Path, *, optional: Collection[str] = ()) -> str | None:
    """The first file of `folder` that is not what it was, and how; None if all are.

    Args:
        optional: files that a copy may lack.
    """
    told = folder / CHECKSUMS
    try:
        known = dict(json.loads(told.read_bytes()))
    except FileNotFoundError:
        return f"{told} is missing"
    except (ValueError, TypeError):
        return f"{told} is damaged (no JSON)"
    for name, expected in known.items():
        try:
            found = _measured(folder / name)
        except (OSError, ValueError):  # the name itself may be damaged
            if name in optional:
                continue
            return f"{folder / name} is missing"
        if found != expected:
            return f"{folder / name} is damaged (checksum differs, {found[0]} bytes)"
    unknown = {str(path) for path in _files(folder)} - known.keys()
    return f"{told} is damaged (it does not know {min(unknown)})" if unknown else None


def _files(folder: Path) -> list[Path]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.name != CHECKSUMS]


def _measured(path: Path) -> list[int | str]:
    """Bytes and checksum."""
    size, digest, block = 0, xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            digest.update(block[:read])
            size += read
    return [size, digest.hexdigest()]
