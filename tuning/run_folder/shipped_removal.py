"""Removes the files that a search from Python has shipped (`trainables.user_trainer.shipped`) and no other needs.

A file stays if another experiment of the storage names it, or if such a file holds it as a data set. It also stays if
it was written or used within the last hour, after the experiment began: by a search that is being prepared and has no
spec yet. In a folder that is safe at any time; in a bucket, except for the moment of the removal.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.user_trainer.shipped_files import ShippedFiles
from trainables.user_trainer.shipped_tables import names_within
from trainables.wording import counted
from tuning.run_folder.bucket import RunBucket, split_uri
from tuning.run_folder.experiments import experiment_names
from tuning.run_folder.files import ORIGIN
from tuning.spec.models import SPEC_FILE

MEGA = 1e6
PREPARING = 3600.0  # seconds that a search may take from what it ships to its spec
OBJECT = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{64}\.pkl")


@dataclass(frozen=True)
class ShippedRemoval:
    """The files below a storage that were shipped for one experiment alone, which `remove` deletes.

    Attributes:
        files: the shipped files of the storage.
        sizes: of each file to delete, in bytes, by name.
        used: number of files that stay, as another search has used them since.
        since: files used after that stay; in seconds since 1970.
    """

    files: ShippedFiles
    sizes: Mapping[str, int]
    used: int
    since: float

    @classmethod
    def of(cls, folder: Path, bucket: RunBucket | None = None) -> ShippedRemoval:
        """Collects the shipped files that only this experiment needs.

        Args:
            bucket: of a run in a bucket.
            folder: the run folder, or the driver's working folder of a run in a bucket.

        Raises:
            ClusterError: the bucket cannot be read.
            OSError: what was shipped, or the spec of another experiment, cannot be read.
        """
        folder = Path(os.path.abspath(folder))
        storage, name = split_uri(bucket.uri) if bucket is not None else (str(folder.parent), folder.name)
        files, fetched = ShippedFiles.below(storage), (folder / ORIGIN).exists()
        ours = [] if fetched else [one for one in _objects([_spec(storage, name)]) if files.has(one)]
        if not ours:
            return cls(files, {}, 0, 0.0)
        theirs = list(_objects(_spec(storage, other) for other in experiment_names(storage) if other != name))
        kept = {*theirs, *_tables(files, (one for one in theirs if files.has(one)))}
        found = files.stated({*ours, *_tables(files, ours)} - kept)
        since = max(_claimed(folder, bucket), time.time() - PREPARING)
        sizes = {one: stated.size for one, stated in found.items() if stated.used <= since}
        return cls(files, sizes, len(found) - len(sizes), since)

    def lines(self) -> Iterator[str]:
        """Yields lines that describe what `remove` deletes, and what stays."""
        if self.sizes:
            size = f"{sum(self.sizes.values()) / MEGA:,.1f} MB"
            yield f"{self.files.folder}: {counted(len(self.sizes), 'file')} that only it needs, {size}"
        if self.used:
            yield f"{self.files.folder}: {counted(self.used, 'file')} of it, used within the last hour, not removed"

    def remove(self) -> None:
        """Deletes them.

        Raises:
            OSError: the storage cannot be written.
        """
        for name in self.sizes:
            self.files.remove(name, self.since)


def _spec(storage: str, name: str) -> str:
    if "://" in storage:
        return RunBucket(storage, name).spec() or ""
    return (Path(storage) / name / SPEC_FILE).read_text(encoding="utf-8", errors="replace")


def _claimed(folder: Path, bucket: RunBucket | None) -> float:
    """Returns when the experiment's spec was written, in seconds since 1970."""
    if bucket is None:
        return (folder / SPEC_FILE).stat().st_mtime
    return bucket.claimed()


def _objects(specs: Iterable[str]) -> Iterator[str]:
    """Yields the files that specs name, also damaged specs: each name stands there in one line."""
    for text in specs:
        yield from OBJECT.findall(text)


def _tables(files: ShippedFiles, objects: Iterable[str]) -> Iterator[str]:
    for name in objects:
        yield from names_within(files.local(name).read_bytes())
