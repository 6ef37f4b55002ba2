"""Files of a run that are cut off or have bits flipped."""

from __future__ import annotations

import random
from pathlib import Path


def damage(file: Path, rng: random.Random) -> str:
    """Cuts `file` off or flips bits in it; returns how."""
    data = bytearray(file.read_bytes())
    if rng.random() < 0.4:
        size = rng.choice([0, rng.randrange(len(data)), len(data) - 1])
        file.write_bytes(data[:size])
        return f"cut off after {size} of {len(data)} bytes"
    places = sorted({rng.randrange(len(data)) for _ in range(rng.choice([1, 1, 3, 16]))})
    for place in places:
        data[place] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return f"a bit flipped at {', '.join(map(str, places))} of {len(data)} bytes"


def files_of(study: Path, memory: Path) -> dict[str, list[Path]]:
    """Returns the files that can be damaged of an interrupted run, by kind.

    Args:
        study: the folder of its only study, in its run folder.
        memory: where the study's states lie until they are copied.
    """
    checkpoints = [max(trial.glob("checkpoint_*")) for trial in study.iterdir() if any(trial.glob("checkpoint_*"))]
    files = {
        "newest snapshot": [max((study / "snapshots").iterdir())],
        "older snapshot": [min((study / "snapshots").iterdir())],
        "Tune's own": [path for path in sorted(study.iterdir()) if path.is_file() and path.stat().st_size],
        "study store": [study.parents[1] / "study.db"],
        "spec": [study.parents[1] / "spec.yaml"],
        "recipe": sorted(path for checkpoint in checkpoints for path in checkpoint.glob("recipe*.json")),
        "state": sorted(
            path
            for place in (memory.glob("*/*"), *(checkpoint.glob("*/*") for checkpoint in checkpoints))
            for path in place
        ),
    }
    return {kind: found for kind, found in files.items() if found}
