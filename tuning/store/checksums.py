"""What is recorded carries a checksum, as SQLite has none: a byte that has changed on a disk may still be a digit.

`{"crc32": ..., "value": ...}`, as JSON, in each attribute of ours whose value anybody reads back.
"""

from __future__ import annotations

import json
import zlib
from typing import Any


class DamagedRecord(ValueError):
    """An attribute is not what was written."""


def with_checksum(value: Any) -> dict[str, Any]:
    """`value`, as it is written."""
    plain = json.loads(json.dumps(value))  # as it comes back: texts for keys, lists for tuples
    return {"crc32": _crc(plain), "value": plain}


def verify_checksum(name: str, stored: Any) -> Any:
    """What `with_checksum` was given.

    Raises:
        DamagedRecord: it is something else; says of which attribute.
    """
    if not isinstance(stored, dict) or stored.keys() != {"crc32", "value"} or _crc(stored["value"]) != stored["crc32"]:
        raise DamagedRecord(f"the record {name} is damaged: its checksum differs")
    return stored["value"]


def _crc(plain: Any) -> int:
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())
