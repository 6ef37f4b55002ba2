"""The head's table of keys and values, in which simulated processes send their heartbeats."""

from __future__ import annotations

import json

from trainables.progress import Beat
from tuning.testing.simulated_cluster import SimulatedCluster
from tuning.testing.virtual_time import BEGINNING

BEAT = 0.5  # seconds between two heartbeats of a process


class HeartbeatTable:
    """Replaces `ray.experimental.internal_kv`.

    Args:
        cluster: its processes that send heartbeats have sent them whenever the keys are listed.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._values: dict[tuple[bytes, str], bytes] = {}  # by namespace and key

    def put(self, key: str | bytes, value: str | bytes, overwrite: bool = True, namespace: bytes = b"") -> bool:
        """Keeps a value under a key of the table, as Ray's head does."""
        self._values[namespace, _text(key)] = value if isinstance(value, bytes) else value.encode()
        return True

    def get(self, keys: list[bytes], namespace: bytes = b"") -> dict[bytes, bytes]:
        """Returns the values of those keys that there are."""
        found = ((key, self._values.get((namespace, key.decode()))) for key in keys)
        return {key: value for key, value in found if value is not None}

    def keys(self, prefix: str | bytes, namespace: bytes = b"") -> list[bytes]:
        """Returns the keys that begin with `prefix`."""
        self._send_heartbeats(namespace)
        return [key.encode() for space, key in self._values if space == namespace and key.startswith(_text(prefix))]

    def delete(self, key: str | bytes, del_by_prefix: bool = False, namespace: bytes = b"") -> int:
        """Removes a key, or all that begin with it, and returns how many."""
        gone = [
            one for one in self._values
            if one[0] == namespace and (one[1].startswith(_text(key)) if del_by_prefix else one[1] == _text(key))
        ]  # fmt: skip
        for one in gone:
            del self._values[one]
        return len(gone)

    def _send_heartbeats(self, namespace: bytes) -> None:
        now = self._cluster.last_heartbeat(BEAT)
        for actor in self._cluster.actors:
            if actor.beats and actor.alive and actor.node is not None:
                sent = actor.hung_since if actor.frozen and actor.hung_since is not None else now
                quiet = 0.0 if actor.hung_since is None else sent - actor.hung_since
                number = int((sent - BEGINNING) / BEAT) + 1
                beat = Beat(number, actor.node.id, actor.process, quiet, actor.begun, actor.epoch, 0)
                self._values[namespace, f"{actor.id}/0"] = json.dumps(beat).encode()


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode()
