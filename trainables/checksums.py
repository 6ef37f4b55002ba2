"""Checksums of the files in a checkpoint, in a file beside them: verified before a trial continues or is scored.

The hash is XXH3: 270 MB of weights and optimizer state take 30 ms; CRC-32 or SHA-256 would take ten times that, at
each report. (https://xxhash.com)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import xxhash

CHECKSUMS = "checksums.tunefleet.json"
BLOCK = 1 << 20  # bytes read at a time; fits into the processor's cache


class DamagedCheckpoint(OSError):
    """A file of a checkpoint is missing, or differs from what was written."""


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files in and below `folder` into it; call it when the folder is complete."""
    (folder / CHECKSUMS).write_text(json.dumps({str(path): _measured(folder / path) for path in _files(folder)}))


def damage(folder: Path, *, optional: Collection[str] = ()) -> str | None:
    """Verifies a folder; describes the first file that is missing or damaged, or returns None if all are intact.

    Args:
        folder: to which `write_checksums` was applied, or a copy of it.
        optional: names of files that a copy may lack.
    """
    recorded = folder / CHECKSUMS
    try:
        known = dict(json.loads(recorded.read_bytes()))
    except FileNotFoundError:
        return f"{recorded} is missing"
    except (ValueError, TypeError):
        return f"{recorded} is damaged (no JSON)"
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
    return f"{recorded} is damaged (it does not know {min(unknown)})" if unknown else None


def _files(folder: Path) -> list[Path]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.name != CHECKSUMS]


def _measured(path: Path) -> list[int | str]:
    """The size in bytes and the hash of a file."""
    size, digest, block = 0, xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            digest.update(block[:read])
            size += read
    return [size, digest.hexdigest()]
