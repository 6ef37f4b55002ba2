"""The commands for an experiment on a cluster elsewhere: submit, jobs, status, logs, stop, fetch."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.cli.terminal import Add

if TYPE_CHECKING:
    from cluster.jobs.dashboard import Dashboard
    from cluster.jobs.submission import JobRecord, Jobs

SUCCESS, FAILED, INTERRUPTED = 0, 1, 130


def add_job_commands(add: Add) -> argparse.ArgumentParser:
    """Declare them; returns `submit`, which takes overrides of a spec as `run` does."""
    submit = add("submit", _submit, "run an experiment on a cluster elsewhere, as a job")
    submit.add_argument("spec", metavar="SPEC", help="a YAML file, or a preset (tunefleet ls presets)")
    submit.add_argument("--wait", action="store_true", help="show the log; end with the run's own exit status")
    submit.add_argument("--resume", action="store_true", help="go on with a job that was stopped or failed")
    submit.add_argument(
        "--force", action="store_true", help="with --resume: also with other versions or other code; it is recorded"
    )
    submit.add_argument(
        "--on-cluster",
        action="append",
        default=[],
        choices=("data", "model"),
        help="the paths of `data`, or of `model`, are the cluster's: nothing of them is uploaded",
    )
    _add_address(submit)
    jobs = add("jobs", _jobs, "list the experiments that were submitted to a cluster")
    _add_address(jobs)
    for name, command, summary in (
        ("status", _status, "tell how a job is"),
        ("logs", _logs, "show what a job has printed"),
        ("stop", _stop, "end a job: its trials end and are saved, its GPUs are free"),
        ("fetch", _fetch, "bring results, report and best weights of a job to this machine"),
    ):
        sub = add(name, command, summary)
        sub.add_argument("id", metavar="ID", help="of the job, or the experiment's name: its newest job")
        _add_address(sub)
        if name == "logs":
            sub.add_argument("--follow", action="store_true", help="until the job is over")
        if name == "fetch":
            sub.add_argument("--to", metavar="FOLDER", default="runs", help="for FOLDER/NAME (default: runs)")
            sub.add_argument(
                "--trust-cluster",
                action="store_true",
                help="also what may run code here: weights that are no safetensors, trust_remote_code of the spec",
            )
    return submit


def _add_address(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--address",
        metavar="URL",
        help="the dashboard of the cluster's head (default: $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)",
    )
    sub.add_argument("--allow-unauthenticated", action="store_true", help="even if it lets everybody in")
    sub.add_argument(
        "--run-by",
        metavar="ACCOUNT",
        help="at an address of this machine: the account that runs the dashboard there, if neither you nor root",
    )


def _open(arguments: argparse.Namespace, *, insist: bool = False) -> Dashboard:
    from cluster.jobs.dashboard import dashboard_url, open_dashboard

    url = dashboard_url(arguments.address)
    let_in = insist or arguments.allow_unauthenticated
    return open_dashboard(url, allow_unauthenticated=let_in, run_by=arguments.run_by)


def _submit(arguments: argparse.Namespace) -> int:
    from tuning.remote.submission import check_trial_fits, prepare_submission, submit

    submission = prepare_submission(arguments.spec, arguments.overrides, arguments.on_cluster)
    dashboard = _open(arguments, insist=submission.spec.cluster.allow_unauthenticated)
    if note := check_trial_fits(submission.spec, dashboard):
        _tell(note)
    jobs = _jobs_of(dashboard)
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        archive, how = Path(scratch) / "job.zip", {"resume": arguments.resume, "force": arguments.force}
        record, new = submit(submission, jobs, archive, **how, say=_tell)
    if new:
        print(f"{record.id}: submitted to {dashboard.url}")
        print(f"  run folder on the cluster: {submission.run_folder} (~ is the home of the cluster's account)")
    else:
        print(f"{record.id}: already submitted; {_described(record)}")
        if record.state in ("failed", "stopped"):
            print("  go on with it: the same command with --resume")
    if arguments.wait:
        return _followed(jobs, record)
    there = f" --address {arguments.address}" if arguments.address else ""
    print(f"  next: tunefleet logs {record.id} --follow{there}; tunefleet fetch {record.id}{there}")
    return SUCCESS


def _followed(jobs: Jobs, record: JobRecord) -> int:
    """Show the log to its end; the exit status of the run itself."""
    try:
        record = jobs.follow(record.id, _write)
    except KeyboardInterrupt:
        _tell(f"{record.id} goes on without us; `tunefleet logs {record.id} --follow` returns to it, `stop` ends it")
        return INTERRUPTED
    _tell(f"{record.id}: {_described(record)}")
    if record.state == "stopped":
        return INTERRUPTED
    return SUCCESS if record.state == "succeeded" else record.exit_status or FAILED


def _jobs(arguments: argparse.Namespace) -> int:
    from tuning.cli.listing import print_columns

    jobs = _jobs_of(_open(arguments))
    rows = [(job.id, job.state, _when(job.started), _lasted(job), _folder(job)) for job in _experiments(jobs)]
    if rows:
        print_columns([("JOB", "STATE", "STARTED", "TIME", "RUN FOLDER"), *rows])
    else:
        _tell(f"no experiment was submitted to {jobs.dashboard.url} since its head started")
    return SUCCESS


def _status(arguments: argparse.Namespace) -> int:
    record = _find(_jobs_of(_open(arguments)), arguments.id)
    print(f"{record.id}: {_described(record)}")
    print(f"  started {_when(record.started)}; run folder on the cluster: {_folder(record)}")
    if record.state == "failed":
        print(f"  {record.message.partition(chr(10))[0].partition(', last available logs')[0]}")
        print(f"  its last words: tunefleet logs {record.id}")
    return SUCCESS


def _logs(arguments: argparse.Namespace) -> int:
    jobs = _jobs_of(_open(arguments))
    record = _find(jobs, arguments.id)
    if arguments.follow:
        return _followed(jobs, record)
    _write(jobs.log(record.id))
    return SUCCESS


def _stop(arguments: argparse.Namespace) -> int:
    jobs = _jobs_of(_open(arguments))
    record = _find(jobs, arguments.id)
    if record.over:
        print(f"{record.id}: {_described(record)}; nothing to stop")
        return SUCCESS
    record = jobs.stop(record.id)
    print(f"{record.id}: {_described(record)}")
    if record.over:
        print("  everything is kept; go on with the same `tunefleet submit` and --resume")
    return SUCCESS if record.over else FAILED


def _fetch(arguments: argparse.Namespace) -> int:
    from tuning.remote.fetching import fetch_experiment

    jobs = _jobs_of(_open(arguments))
    record = _find(jobs, arguments.id)
    folder = fetch_experiment(jobs, record, Path(arguments.to), _tell, trust_cluster=arguments.trust_cluster)
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


def _tell(text: str) -> None:
    print(f"tunefleet: {text}", file=sys.stderr, flush=True)
