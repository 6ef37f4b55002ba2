"""Checksums against damage on disks and in memory: of files, of a checkpoint's folder, and of JSON values.

Files are hashed with XXH3 (https://xxhash.com): 270 MB of weights and optimizer state take 30 ms; CRC-32 or SHA-256
would take ten times that, at each report. The checksums of a checkpoint are in a file beside its files, and are
verified before a trial continues or is scored. Small JSON records (manifests, attributes in the study store) carry a
CRC-32. SHA-256 is used elsewhere for what is addressed or sealed by its content (specs, snapshots, shipped objects).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import xxhash

CHECKSUMS = "checksums.tunefleet.json"
BLOCK = 1 << 20  # bytes read at a time; fits into the processor's cache


class DamagedCheckpoint(OSError):
    """A file of a checkpoint is missing, or differs from what was written."""


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files in and below `folder` into it; call it when the folder is complete."""
    (folder / CHECKSUMS).write_text(json.dumps({str(path): file_checksum(folder / path) for path in _files(folder)}))


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
            found = file_checksum(folder / name)
        except (OSError, ValueError):  # the name itself may be damaged
            if name in optional:
                continue
            return f"{folder / name} is missing"
        if list(found) != expected:
            return f"{folder / name} is damaged (checksum differs, {found[0]} bytes)"
    unknown = {str(path) for path in _files(folder)} - known.keys()
    return f"{recorded} is damaged (it does not know {min(unknown)})" if unknown else None


def json_crc(value: Any, *, sort_keys: bool = False) -> int:
    """The CRC-32 of a JSON value as `json.dumps` writes it."""
    return zlib.crc32(json.dumps(value, sort_keys=sort_keys).encode())


def _files(folder: Path) -> list[Path]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.name != CHECKSUMS]


def file_checksum(path: Path) -> tuple[int, str]:
    """The size in bytes and the XXH3 hash (128 bits, hex) of a file."""
    size, digest, block = 0, xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            digest.update(block[:read])
            size += read
    return size, digest.hexdigest()
