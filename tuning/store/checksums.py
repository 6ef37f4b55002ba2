"""CRC-32 checksums of recorded attributes. SQLite has none, and a digit with a flipped bit may still be a digit.

Each attribute that is read back is the JSON object `{"crc32": ..., "value": ...}`.
"""

from __future__ import annotations

import json
from typing import Any

from trainables.checksums import json_crc


class DamagedRecord(ValueError):
    """The checksum of a recorded attribute does not match its value."""


def with_checksum(value: Any) -> dict[str, Any]:
    """Wraps a value with its checksum, as it is recorded."""
    plain = json.loads(json.dumps(value))  # as it is read back: texts for keys, lists for tuples
    return {"crc32": json_crc(plain, sort_keys=True), "value": plain}


def verify_checksum(name: str, stored: Any) -> Any:
    """Returns the value that `with_checksum` wrapped.

    Args:
        name: of the attribute, for the error.
        stored: the JSON object as it was read back.

    Raises:
        DamagedRecord: the checksum differs.
    """
    if (
        not isinstance(stored, dict)
        or stored.keys() != {"crc32", "value"}
        or json_crc(stored["value"], sort_keys=True) != stored["crc32"]
    ):
        raise DamagedRecord(f"the record {name} is damaged: its checksum differs")
    return stored["value"]
