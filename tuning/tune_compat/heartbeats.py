"""Heartbeats of trials' processes, in the head's table of keys and values.

A named actor would be the public way: one more process, for a line that nobody waits for. Read against ray 2.60.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from trainables.progress import Beat

BEATS = b"tunefleet-heartbeats"  # namespace of Ray's table


def send_beat(actor: str, rank: int, beat: Beat) -> None:
    """Store the newest beat of one process of a trial; called there, on any node. Takes a third of a millisecond.

    Args:
        actor: Ray's id of the trial's actor.
        rank: of the process among those that train the trial together.
    """
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(f"{actor}/{rank}", json.dumps(beat), overwrite=True, namespace=BEATS)


def beats_of(actors: Iterable[str]) -> dict[str, dict[int, Beat]]:
    """The newest beats, by actor and rank; an actor that has sent none has no ranks.

    Two questions to the head, whatever the number of actors.
    """
    from ray.experimental import internal_kv

    beats: dict[str, dict[int, Beat]] = {actor: {} for actor in actors}
    if not beats:
        return beats
    keys = internal_kv._internal_kv_list(b"", namespace=BEATS)
    own = [key for key in keys if key.decode().partition("/")[0] in beats]
    stored = internal_kv.internal_kv_get_gcs_client().internal_kv_multi_get(own, BEATS) if own else {}
    for key, beat in stored.items():  # without those that another driver has removed meanwhile
        actor, _, rank = key.decode().partition("/")
        beats[actor][int(rank)] = Beat(*json.loads(beat))
    return beats


def forget_beats(actors: Iterable[str]) -> None:
    """Remove the beats of these actors from the table."""
    from ray.experimental import internal_kv

    for actor in actors:
        internal_kv._internal_kv_del(f"{actor}/", del_by_prefix=True, namespace=BEATS)
