"""`tunefleet submit`, `jobs`, `status`, `logs`, `stop`, `fetch`: an experiment on a cluster elsewhere."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cluster.spec import ClusterSpec
from tuning.cli.command import Command
from tuning.cli.exit_status import FAILED, INTERRUPTED, SUCCESS
from tuning.cli.output import print_columns, print_message
from tuning.cli.parameters import overrides_argument, spec_argument

if TYPE_CHECKING:
    from cluster.jobs.dashboard import Dashboard
    from cluster.jobs.submission import JobRecord, Jobs


def _dashboard_options(command: Callable[..., int]) -> Callable[..., int]:
    """The parameters that say where a cluster's dashboard is; the command receives them as one `_Address`."""

    @click.option(
        "--address",
        metavar="URL",
        help="the dashboard of the cluster's head (default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)",
    )
    @click.option("--allow-unauthenticated", is_flag=True, help="even if it lets everybody in")
    @click.option(
        "--run-by",
        metavar="ACCOUNT",
        help="at an address of this machine: the account that runs the dashboard there, if neither you nor root",
    )
    @functools.wraps(command)
    def with_address(address: str | None, allow_unauthenticated: bool, run_by: str | None, **others: Any) -> int:
        return command(_Address(address, allow_unauthenticated, run_by), **others)

    return with_address


class _Address(NamedTuple):
    """The address of a cluster's dashboard, and the conditions under which it is used."""

    url: str | None
    allow_unauthenticated: bool
    run_by: str | None

    def open(self, *, allow_unauthenticated: bool = False) -> Dashboard:
        """Connect to the dashboard.

        Raises:
            ClusterError: nothing answers there, or it lets everybody in and that is not allowed.
        """
        from cluster.jobs.dashboard import dashboard_url, open_dashboard

        allowed = allow_unauthenticated or self.allow_unauthenticated
        return open_dashboard(dashboard_url(self.url), allow_unauthenticated=allowed, run_by=self.run_by)

    def jobs(self) -> Jobs:
        """The jobs of the cluster; raises as `open` does."""
        return _jobs_of(self.open())


_job_argument = click.argument("id", metavar="ID", help="of the job, or the experiment's name: its newest job")


@click.command(cls=Command)
@spec_argument
@overrides_argument
@click.option("--wait", is_flag=True, help="show the log; end with the run's own exit status")
@click.option("--resume", is_flag=True, help="resume a job that was stopped or failed")
@click.option(
    "--extend", is_flag=True, help="add the spec's further seeds or strategies to the experiment that ran there"
)
@click.option(
    "--force",
    is_flag=True,
    help="with --resume or --extend: also with other versions or other code; it is recorded",
)
@click.option(
    "--on-cluster",
    type=click.Choice(("data", "model")),
    multiple=True,
    help="the paths of `data`, or of `model`, are the cluster's: nothing of them is uploaded",
)
@_dashboard_options
def submit_command(
    address: _Address,
    *,
    spec: str,
    overrides: tuple[str, ...],
    wait: bool,
    resume: bool,
    extend: bool,
    force: bool,
    on_cluster: tuple[str, ...],
) -> int:
    """Run an experiment on a cluster elsewhere, as a job."""
    from tuning.remote.submission import check_trial_fits, prepare_submission, submit

    submission = prepare_submission(spec, list(overrides), list(on_cluster), extend=extend)
    dashboard = address.open(allow_unauthenticated=submission.spec.cluster.allow_unauthenticated)
    if note := check_trial_fits(submission.spec, dashboard):
        print_message(note)
    jobs = _jobs_of(dashboard)
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        archive, how = Path(scratch) / "job.zip", {"resume": resume, "force": force}
        record, new = submit(submission, jobs, archive, **how, say=print_message)
    if new:
        print(f"{record.id}: submitted to {dashboard.url}")
        print(f"  run folder on the cluster: {submission.run_folder} (~ is the home of the cluster's account)")
    else:
        print(f"{record.id}: already submitted; {_described(record)}")
        if record.state in ("failed", "stopped"):
            print("  go on with it: the same command with --resume")
    if wait:
        return _followed(jobs, record)
    there = f" --address {address.url}" if address.url else ""
    print(f"  next: tunefleet logs {record.id} --follow{there}; tunefleet fetch {record.id}{there}")
    return SUCCESS


def _followed(jobs: Jobs, record: JobRecord) -> int:
    """Show the log of a job to its end; returns the exit status of the run itself."""
    try:
        record = jobs.follow(record.id, _write)
    except KeyboardInterrupt:
        print_message(f"{record.id} keeps running; `tunefleet logs {record.id} --follow` returns to it, `stop` ends it")
        return INTERRUPTED
    print_message(f"{record.id}: {_described(record)}")
    if record.state == "stopped":
        return INTERRUPTED
    return SUCCESS if record.state == "succeeded" else record.exit_status or FAILED


@click.command(cls=Command)
@_dashboard_options
def jobs_command(address: _Address) -> int:
    """List the experiments that were submitted to a cluster."""
    jobs = address.jobs()
    rows = [(job.id, job.state, _when(job.started), _lasted(job), _folder(job)) for job in _experiments(jobs)]
    if rows:
        print_columns([("JOB", "STATE", "STARTED", "TIME", "RUN FOLDER"), *rows])
    else:
        print_message(f"no experiment was submitted to {jobs.dashboard.url} since its head started")
    return SUCCESS


@click.command(cls=Command)
@_job_argument
@_dashboard_options
def status_command(address: _Address, *, id: str) -> int:
    """Show the state of a job."""
    record = _find(address.jobs(), id)
    print(f"{record.id}: {_described(record)}")
    print(f"  started {_when(record.started)}; run folder on the cluster: {_folder(record)}")
    if record.state == "failed":
        print(f"  {record.message.partition(chr(10))[0].partition(', last available logs')[0]}")
        print(f"  its last words: tunefleet logs {record.id}")
    return SUCCESS


@click.command(cls=Command)
@_job_argument
@click.option("--follow", is_flag=True, help="until the job is over")
@_dashboard_options
def logs_command(address: _Address, *, id: str, follow: bool) -> int:
    """Show what a job has printed."""
    jobs = address.jobs()
    record = _find(jobs, id)
    if follow:
        return _followed(jobs, record)
    _write(jobs.log(record.id))
    return SUCCESS


@click.command(cls=Command)
@_job_argument
@_dashboard_options
def stop_command(address: _Address, *, id: str) -> int:
    """End a job: its trials end and are saved, its GPUs are free."""
    jobs = address.jobs()
    record = _find(jobs, id)
    if record.over:
        print(f"{record.id}: {_described(record)}; nothing to stop")
        return SUCCESS
    record = jobs.stop(record.id)
    print(f"{record.id}: {_described(record)}")
    if record.over:
        print("  everything is kept; go on with the same `tunefleet submit` and --resume")
    return SUCCESS if record.over else FAILED


@click.command(cls=Command)
@_job_argument
@click.option("--to", metavar="FOLDER", default=ClusterSpec().storage, help="for FOLDER/NAME (default: runs)")
@click.option(
    "--trust-cluster",
    is_flag=True,
    help="also what may run code here: weights that are no safetensors, trust_remote_code of the spec",
)
@_dashboard_options
def fetch_command(address: _Address, *, id: str, to: str, trust_cluster: bool) -> int:
    """Bring results, report and best weights of a job to this machine."""
    from tuning.remote.fetching import fetch_experiment

    jobs = address.jobs()
    record = _find(jobs, id)
    folder = fetch_experiment(jobs, record, Path(to), print_message, trust_cluster=trust_cluster)
    print(f"{record.id}: {_described(record)}; fetched to {folder}")
    print(f"  next: tunefleet compare {folder.name} --storage {folder.parent}")
    return SUCCESS


def _jobs_of(dashboard: Dashboard) -> Jobs:
    from cluster.jobs.submission import Jobs

    return Jobs(dashboard)


def _experiments(jobs: Jobs) -> list[JobRecord]:
    """The jobs that run experiments, the oldest first."""
    ours = {"tunefleet", "experiment", "storage"}
    return [job for job in jobs.list() if ours <= job.metadata.keys() and "purpose" not in job.metadata]


def _find(jobs: Jobs, name: str) -> JobRecord:
    """The job of that id, else the newest of the experiment of that name.

    Raises:
        ClusterError: there is none.
    """
    from cluster.jobs.submission import UnknownJob
    from trainables.errors import nearest

    known = _experiments(jobs)
    found = [job for job in known if name in (job.id, job.metadata["experiment"])]
    if found:
        return found[-1]
    step = nearest(name, [job.id for job in known]) if known else "no experiment was submitted since its head started"
    raise UnknownJob(f"ID: {name}: no such job at {jobs.dashboard.url}; {step}")


def _described(job: JobRecord) -> str:
    status = f", exit status {job.exit_status}" if job.state == "failed" and job.exit_status is not None else ""
    return f"{job.state}{status}" + (f" after {_lasted(job)}" if job.over else "")


def _folder(job: JobRecord) -> str:
    return f"{job.metadata['storage']}/{job.metadata['experiment']}"


def _when(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _lasted(job: JobRecord) -> str:
    if job.started is None:
        return "-"
    seconds = int((job.ended or time.time()) - job.started)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _write(text: str) -> None:
    print(text, end="", flush=True)
