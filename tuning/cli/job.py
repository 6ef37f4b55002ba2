"""The program of a job on a cluster's head: `python -m tuning.cli.job` and its action.

The actions are `run`, `resume [--force]`, `extend [--resume] [--force]` and `serve NAME STORAGE`.

It starts in the job's working directory, where the archive of `tuning.remote.submission` was unpacked, and leaves it at
once: what shall last goes to the storage, and relative paths begin at the home of the account that runs the cluster.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

# All else is imported below, after the signal to stop is accepted: imports take seconds.

INTERRUPTED = 130
WAYS = (  # for whoever submitted the job, and has no shell here
    "`tunefleet submit` begins an experiment; with --resume it goes on with one that is there, with --extend it adds "
    "seeds or strategies to it"
)


def run_job(argv: Sequence[str]) -> int:
    """Run the job; returns the exit status of `tunefleet run`, or 130 when the job was stopped."""
    try:
        _listen()
        return _work(*argv)
    except KeyboardInterrupt:
        return INTERRUPTED


def _listen() -> None:
    """Accept the signal to stop: a head in the background of a shell ignores it, and Ray blocks it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _work(action: str, *words: str) -> int:
    from tuning.cli.exit_status import exit_status_of

    here = Path.cwd()
    os.chdir(Path.home())
    if action == "serve":
        from tuning.remote.bundle import serve_bundle

        return exit_status_of(lambda: serve_bundle(*words))
    resume = action == "resume" or "--resume" in words
    return exit_status_of(lambda: _experiment(here, extend=action == "extend", resume=resume, force="--force" in words))


def _experiment(here: Path, *, extend: bool, resume: bool, force: bool) -> int:
    from trainables.errors import InputError
    from tuning.cli.run import run_spec
    from tuning.errors import RunFolderError
    from tuning.remote.submission import SPEC_NAME, UPLOADED
    from tuning.remote.uploads import store_uploads
    from tuning.run_folder.experiments import UnknownExperiment
    from tuning.spec.file import parse
    from tuning.spec.loading import load_spec

    raw = parse((here / SPEC_NAME).read_text(encoding="utf-8"), SPEC_NAME)
    storage = str(raw["cluster"]["storage"])
    try:
        if (here / UPLOADED).is_dir():
            store_uploads(here / UPLOADED, Path(storage).expanduser())
    except OSError as error:
        step = "name a folder of the cluster that its account can write: cluster.storage=FOLDER"
        raise InputError("cluster.storage", storage, f"cannot be written: {error.strerror}", step) from error
    spec = load_spec(here / SPEC_NAME)
    begun = extend or (resume and _has_begun(spec.name, spec.cluster.storage))
    try:
        spec = _extended(spec, resume=resume, force=force) if extend else spec
        return run_spec(spec, resume=begun, force=force, resume_with="the same `tunefleet submit` and --resume")
    except (RunFolderError, UnknownExperiment) as error:
        error.add_note(WAYS)
        raise


def _extended(requested: ExperimentSpec, *, resume: bool, force: bool) -> ExperimentSpec:
    """The spec of the recorded experiment with what `requested` adds; an earlier job may have added it.

    Raises:
        UnknownExperiment, RunFolderError, SpecError, StoreError: see `load_recorded_spec`.
        InputError: it adds nothing, or changes something else.
    """
    from tuning.extended_spec import extend_spec, has_test_score, is_part
    from tuning.run_folder.experiments import find_store
    from tuning.run_folder.folder import with_extensions
    from tuning.run_folder.recorded_spec import load_recorded_spec

    name, storage = requested.name, requested.cluster.storage
    before = load_recorded_spec(name, storage, force=force)
    if resume and is_part(requested, before):
        return with_extensions(requested)
    return extend_spec(before, requested, judged=has_test_score(name, find_store(name, storage)))


def _has_begun(name: str, storage: str) -> bool:
    """True if there is a run folder to continue: a first job that ended on a mistake has left none."""
    from tuning.run_folder.experiments import UnknownExperiment, find_experiment

    try:
        find_experiment(name, storage)
    except UnknownExperiment:
        return False
    return True


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1:]))
