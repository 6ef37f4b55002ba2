"""What there is of an experiment, and taking it away: its run folder or place in a bucket, its studies in the store.

A run takes away what a run before left that never had a score, or anything where it is to begin afresh; `tunefleet rm`
takes away what its user names. Whoever removes holds the experiment's lock.
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
# What stands in a run folder: of a run, its store, its trackers, a fetch; beside it what was being written.
ENTRIES = (SPEC_FILE, f"{STORE_FILE}*", STUDIES, LOCK_FILE, "wandb", "best", "results.json", "comparison.*", ORIGIN)
UNFINISHED = (f".{SPEC_FILE}.*", f".{STORE_FILE}*", ".seen-*")


@dataclass(frozen=True)
class ExperimentRemoval:
    """All that is there of one experiment, as it was found.

    Attributes:
        folder: its run folder, or the driver's working folder of a run in a bucket; None: there is none.
        bucket: its place in a bucket; None: it lies in folders.
        store: the URL of its store. May hold a password.
        studies: what is recorded of it.
        unread: why the store could not be read; "" where it could.
        others: experiments that are recorded in the same store.
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
        """Look what is there.

        Args:
            store: None: the one that the run folder's spec names.
        """
        assert store is not None or folder is not None
        url = store or _recorded_in(folder or Path())
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
        """Whether all of so many studies, and those that were added, have come to their end."""
        return len(self.studies) >= studies and all(study.state is StudyState.FINISHED for study in self.studies)

    @property
    def nothing(self) -> bool:
        """True if there is nothing to remove."""
        return self.folder is None and self.bucket is None and not self.studies

    def lines(self) -> list[str]:
        """The lines that tell a user what `remove` takes away."""
        told = []
        if self.bucket is not None:
            told.append(f"{self.bucket.uri}, with its checkpoints and records")
        if self.folder is not None and self.folder.is_dir():
            sizes = [path.lstat().st_size for path in self.folder.rglob("*") if not path.is_dir()]
            told.append(f"{self.folder}: {counted(len(sizes), 'file')}, {sum(sizes) / MEGA:,.1f} MB")
        if self.studies:
            trials = sum(len(study.trials) for study in self.studies)
            reports = sum(len(trial.reports) for study in self.studies for trial in study.trials)
            counts = (
                counted(len(self.studies), "study", "studies"),
                counted(trials, "trial"),
                counted(reports, "report"),
            )
            told.append(f"{counts[0]} with {counts[1]} and {counts[2]}, recorded in {masked(self.store)}")
        return told

    def remove(self) -> None:
        """Take it away; the spec last, so that what is cut off can be done again.

        Raises:
            RunFolderError: other experiments are recorded in a store that would go with the run folder, or something
                stands there that no run has made.
            StoreError: the store cannot be written.
            ClusterError: the bucket cannot be.
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


def _recorded_in(folder: Path) -> str:
    """The store that the run in `folder` records into. Of a spec that is no YAML any more, or that a cluster has sent:
    the run folder's own."""
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
    """A folder with a spec.yaml in it may be a project's own, where that file was written by hand, or copied to.

    Raises:
        RunFolderError: something else stands there.
    """
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if more := [name for name in found if not any(fnmatchcase(name, known) for known in (*ENTRIES, *UNFINISHED))]:
        shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
        raise RunFolderError(
            f"{folder} holds {shown}, which no run has made, so it is not removed. Move that away first, if it is a "
            "run folder; if it is none, name the experiment (`tunefleet ls` shows them)"
        )


def _empty(folder: Path) -> None:
    """Remove all but the lock, which its holder gives up."""
    if not folder.is_dir():
        return
    for study in (folder / STUDIES).glob("*"):
        with contextlib.suppress(OSError):  # this node has no shared memory for us
            SharedMemory(study).remove()
    for path in sorted(folder.iterdir(), key=lambda path: path.name == SPEC_FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()
