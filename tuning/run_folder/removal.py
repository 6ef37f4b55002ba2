"""Removes an experiment: its run folder or its files in a bucket, and its studies in the store.

A run removes an earlier one without scores, or any with `--fresh`; `tunefleet rm` removes what the user names. Whoever
removes holds the experiment's run lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from trainables.machine.shared_memory import SharedMemory
from trainables.wording import counted
from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome, StudyState
from tuning.run_folder.bucket import RunBucket
from tuning.run_folder.files import LOCK_FILE, ORIGIN
from tuning.spec.file import parse
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, STORE_FILE, STORE_VARIABLE, STUDIES
from tuning.spec.store_url import StoreError, masked, sqlite_url
from tuning.store.study_store import StudyStore

MEGA = 1e6
# The entries of a run folder: of a run, its store, its trackers, a fetch; and files that were being written.
ENTRIES = (SPEC_FILE, f"{STORE_FILE}*", STUDIES, LOCK_FILE, "wandb", "best", "results.json", "comparison.*", ORIGIN)
UNFINISHED = (f".{SPEC_FILE}.*", f".{STORE_FILE}*", ".seen-*")


@dataclass(frozen=True)
class ExperimentRemoval:
    """All files and records of one experiment, which `remove` deletes.

    Attributes:
        name: of the experiment.
        folder: its run folder, or the driver's working folder of a run in a bucket; None: there is none.
        bucket: its bucket; None: it is in folders.
        store: the URL of its store. May hold a password.
        studies: its recorded studies.
        unread: why the store could not be read; empty if it could.
        others: names of other experiments in the same store.
    """

    name: str
    folder: Path | None
    bucket: RunBucket | None
    store: str
    studies: tuple[StudyOutcome, ...] = ()
    unread: str = ""
    others: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls, name: str, folder: Path | None, bucket: RunBucket | None = None, store: str | None = None
    ) -> ExperimentRemoval:
        """Collects the files and records of an experiment.

        Args:
            name: of the experiment.
            folder: its run folder.
            bucket: its bucket, if it is in one.
            store: URL of its store; None: the one that the run folder's spec names.
        """
        assert store is not None or folder is not None
        url = store or store_recorded_in(folder or Path())
        if (file := _file_of(url)) is not None and not file.is_file():
            return cls(name, folder, bucket, url)
        with contextlib.closing(StudyStore(url)) as opened:
            try:
                names = opened.experiments()
                studies = opened.load(name).studies if name in names else ()
            except StoreError as error:
                return cls(name, folder, bucket, url, unread=str(error))
        return cls(name, folder, bucket, url, studies, others=tuple(one for one in names if one != name))

    @property
    def scored(self) -> bool:
        """True if a trial has reported a score, or may have: a store that cannot be read may hold one."""
        return bool(self.unread) or any(trial.reports for study in self.studies for trial in study.trials)

    def finished(self, studies: int) -> bool:
        """True if at least `studies` studies are recorded, and all of them have finished."""
        return len(self.studies) >= studies and all(study.state is StudyState.FINISHED for study in self.studies)

    @property
    def nothing(self) -> bool:
        """True if there is nothing to remove."""
        return self.folder is None and self.bucket is None and not self.studies

    def lines(self) -> list[str]:
        """Returns lines that describe what `remove` deletes."""
        lines = []
        if self.bucket is not None:
            lines.append(f"{self.bucket.uri}, with its checkpoints and records")
        if self.folder is not None and self.folder.is_dir():
            sizes = [path.lstat().st_size for path in self.folder.rglob("*") if not path.is_dir()]
            lines.append(f"{self.folder}: {counted(len(sizes), 'file')}, {sum(sizes) / MEGA:,.1f} MB")
        if self.studies:
            trials = sum(len(study.trials) for study in self.studies)
            reports = sum(len(trial.reports) for study in self.studies for trial in study.trials)
            counts = (
                counted(len(self.studies), "study", "studies"),
                counted(trials, "trial"),
                counted(reports, "report"),
            )
            lines.append(f"{counts[0]} with {counts[1]} and {counts[2]}, recorded in {masked(self.store)}")
        return lines

    def remove(self) -> None:
        """Removes everything; the spec last, so that an interrupted removal can be repeated.

        Raises:
            RunFolderError: a store with other experiments would be removed with the run folder, or the folder holds
                something that no run has made.
            StoreError: the store cannot be written.
            ClusterError: the bucket cannot be written.
        """
        if self.bucket is None and self.folder is not None:
            _refuse_more_than_a_run(self.folder)
        within = (file := _file_of(self.store)) is not None and self.folder is not None and file.parent == self.folder
        if within and self.others:
            raise RunFolderError(
                f"name: {self.name}: {masked(self.store)} holds {', '.join(self.others)} as well, so {self.folder} "
                "cannot be removed; remove those first, or choose another name (name=...)"
            )
        if not within:
            if self.unread:
                raise StoreError(self.unread)
            with contextlib.closing(StudyStore(self.store)) as store:
                if self.studies:
                    store.remove(self.name)
        if self.bucket is not None:
            self.bucket.clear()
        if self.folder is not None:
            _empty(self.folder)


def store_recorded_in(folder: Path) -> str:
    """Returns the URL of the store that the run in `folder` records into.

    If the spec is no longer YAML, or was sent by a cluster, that is the run folder's own.
    """
    if (folder / ORIGIN).exists():
        return sqlite_url(folder / STORE_FILE)
    try:
        raw = parse((folder / SPEC_FILE).read_text(encoding="utf-8"), SPEC_FILE)
    except (OSError, UnicodeError, SpecError):
        raw = {}
    return str(raw.get("store") or os.environ.get(STORE_VARIABLE) or sqlite_url(folder / STORE_FILE))


def _file_of(url: str) -> Path | None:
    from sqlalchemy.engine import make_url

    return Path(make_url(url).database or "") if url.startswith("sqlite:///") else None


def _refuse_more_than_a_run(folder: Path) -> None:
    """Refuses to remove a folder with other files: a spec.yaml may be in a project's own folder, written by hand.

    Raises:
        RunFolderError: the folder holds something that no run has made.
    """
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if more := [name for name in found if not any(fnmatchcase(name, known) for known in (*ENTRIES, *UNFINISHED))]:
        shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
        raise RunFolderError(
            f"{folder} holds {shown}, which no run has made, so it is not removed. Move that away first, if it is a "
            "run folder; if it is none, name the experiment (`tunefleet ls` shows them)"
        )


def _empty(folder: Path) -> None:
    """Deletes everything in the run folder but the lock file, which its holder deletes."""
    if not folder.is_dir():
        return
    for study in (folder / STUDIES).glob("*"):
        with contextlib.suppress(OSError):  # this node has no shared memory
            SharedMemory(study).remove()
    for path in sorted(folder.iterdir(), key=lambda path: path.name == SPEC_FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()
