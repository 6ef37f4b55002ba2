"""The program of a job on a cluster's head: `python -m tuning.cli.job` and its action.

The actions are `run`, `resume [--force]` and `serve NAME STORAGE`.

It starts in the job's working directory, where the archive of `tuning.remote.submission` was unpacked, and leaves it at
once: what shall last goes to the storage, and relative paths begin at the home of the account that runs the cluster.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# All else is imported below, after the signal to stop is accepted: imports take seconds.

INTERRUPTED = 130


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
    return exit_status_of(lambda: _experiment(here, resume=action == "resume", force="--force" in words))


def _experiment(here: Path, *, resume: bool, force: bool) -> int:
    from trainables.errors import InputError
    from tuning.cli.run import run_spec
    from tuning.remote.submission import SPEC_NAME, UPLOADED
    from tuning.remote.uploads import store_uploads
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
    begun = resume and _has_begun(spec.name, spec.cluster.storage)
    return run_spec(spec, resume=begun, force=force, resume_with="the same `tunefleet submit` and --resume")


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
