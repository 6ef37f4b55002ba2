"""A small experiment on a cluster elsewhere, as that cluster packs it, and a fetch of it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import yaml

from tests.support.head_server import HeadServer
from tests.support.serving import serving
from tuning.cli import main
from tuning.spec.store_url import sqlite_url
from tuning.store.study_store import StudyStore
from tuning.testing.recording import begin_trial, make_report, open_study

SPEC: dict[str, Any] = {
    "name": "reviews",
    "task": "reviews",
    "trainable": "learning_curve",
    "epochs": 1,
    "space": {"learning_rate": {"choice": [0.1, 0.2]}},
    "strategies": [{"kind": "grid"}],
    "cluster": {"address": "203.0.113.7:6379", "storage": "/elsewhere", "cpus_per_trial": 2},
}
Member = tuple[tarfile.TarInfo | str, bytes]


def honest_members(folder: Path) -> list[Member]:
    """Returns the files of the experiment as a cluster packs them; its store is made in `folder`."""
    file = folder / "study.db"
    store = StudyStore(sqlite_url(file))
    writer = open_study(store, spec_yaml=yaml.safe_dump(SPEC))
    begin_trial(writer, "a")
    writer.add_report("a", make_report(1, 0.75))
    store.close()
    return [
        ("reviews/spec.yaml", yaml.safe_dump(SPEC).encode()),
        ("reviews/study.db", file.read_bytes()),
        ("reviews/studies/grid-seed-0/Slot_a_0_learning_rate=0.1/result.json", b"{}"),
        ("reviews/best/best.yaml", b"learning_rate: 0.1\n"),
        ("reviews/best/model.safetensors", b"weights"),
    ]


def fetched(head: HeadServer, *words: str) -> int:
    """Fetches the experiment into the working directory; returns the exit status of the command."""
    with serving(head):
        return main(["fetch", "reviews", "--address", head.url, *words])
