"""Submits, lists, follows and stops jobs of a cluster, over Ray Jobs. Knows nothing of experiments.

A job has an id that the submitter chooses. Of equal submissions, however close in time, one becomes a job.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.capacity import ClusterError
from cluster.environment import temporary_environment
from cluster.jobs.dashboard import Dashboard
from cluster.jobs.route import printable
from cluster.nodes.head import AUTH_MODE
from cluster.ray_compat.own_node import logs_folder
from cluster.workers.forking.launcher import MARK

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from cluster.jobs.client import JobClient

State = Literal["pending", "running", "succeeded", "failed", "stopped"]
UPLOAD_LIMIT = 100 << 20  # bytes of one request that a dashboard takes: ray_constants.DASHBOARD_CLIENT_MAX_SIZE
STOP_SECONDS = 30  # a driver that was signalled to stop is killed after these
INTERRUPTED = 130  # exit status of a driver that was signalled to stop
STOP_GRACEFULLY = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
POLL_SECONDS = 0.5
RECONNECTS = 5  # of a log that breaks off without anything new


@dataclass(frozen=True)
class JobRequest:
    """A job to submit."""

    id: str
    command: str  # for a shell on the head
    archive: Path  # a ZIP file, unpacked into the working directory of the driver and of every worker
    metadata: Mapping[str, str]  # shown to everybody who may list jobs


@dataclass(frozen=True)
class JobRecord:
    """The state of a job, as the cluster reports it."""

    id: str
    state: State
    metadata: Mapping[str, str]
    message: str  # Ray's own, about the state
    exit_status: int | None  # of the driver
    node: str | None  # where the driver runs
    started: float | None  # seconds since 1970
    ended: float | None

    @property
    def over(self) -> bool:
        """True if the job has ended."""
        return self.state not in ("pending", "running")

    @classmethod
    def of(cls, details: JobDetails) -> JobRecord:
        """Converts Ray's description; a driver with the exit status of an interruption counts as stopped."""
        state: Any = details.status.value.lower()
        if state == "failed" and details.driver_exit_code == INTERRUPTED:
            state = "stopped"
        return cls(
            id=printable(str(details.submission_id)),
            state=state,
            metadata={printable(key): printable(value) for key, value in (details.metadata or {}).items()},
            message=printable(details.message or ""),
            exit_status=details.driver_exit_code,
            node=details.driver_node_id,
            started=details.start_time / 1000 if details.start_time else None,
            ended=details.end_time / 1000 if details.end_time else None,
        )


class Jobs:
    """The jobs behind an open dashboard."""

    def __init__(self, dashboard: Dashboard) -> None:
        from cluster.jobs.client import JobClient

        for chatty in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(chatty).setLevel(logging.WARNING)  # they log each upload and each closed connection
        self.dashboard = dashboard
        # Ray's client would read another address, or another token, from the environment.
        own = {AUTH_MODE: "disabled", "RAY_API_SERVER_ADDRESS": dashboard.url}
        with temporary_environment({}, own):
            self._client: JobClient = self._call(
                lambda: JobClient(dashboard.url, headers=dashboard.headers, run_by=dashboard.run_by)
            )

    def submit(self, job: JobRequest) -> bool:
        """Submits a job; returns False if the cluster has a job with that id already.

        Raises:
            ClusterError: the cluster does not accept it.
        """
        try:
            self._call(
                lambda: self._client.submit_job(
                    submission_id=job.id,
                    entrypoint=job.command,
                    runtime_env={"working_dir": str(job.archive), "env_vars": {**STOP_GRACEFULLY, MARK: "1"}},
                    metadata=dict(job.metadata),
                )
            )
        except ClusterError:
            if self.find(job.id) is None:
                raise
            return False
        return True

    def list(self) -> list[JobRecord]:
        """Returns all jobs that were submitted with metadata, the oldest first.

        Raises:
            ClusterError: the cluster does not answer.
        """
        found = [JobRecord.of(job) for job in self._call(self._client.list_jobs) if job.submission_id and job.metadata]
        return sorted(found, key=lambda job: job.started or 0.0)

    def find(self, job: str) -> JobRecord | None:
        """Returns the job with that id; None if the cluster has none.

        Raises:
            ClusterError: the cluster does not answer.
        """
        try:
            return JobRecord.of(self._call(lambda: self._client.get_job_info(job)))
        except UnknownJob:
            return None

    def get(self, job: str) -> JobRecord:
        """Returns the job with that id.

        Raises:
            ClusterError: the cluster has none, or does not answer.
        """
        found = self.find(job)
        if found is None:
            raise UnknownJob(f"job {job}: not known to {self.dashboard.url}; `tunefleet jobs` lists those that are")
        return found

    def log(self, job: str) -> str:
        """Returns what the driver has printed so far.

        Raises:
            ClusterError: no such job, or its node is gone.
        """
        return str(self._call(lambda: self._client.get_job_logs(job)))

    def follow(self, job: str, write: Callable[[str], object]) -> JobRecord:
        """Passes on what the driver prints, from its first line, until the job has ended.

        Args:
            write: called with each piece of text.

        Raises:
            ClusterError: no such job, or the log breaks off for good.
        """
        written, failures = 0, 0

        async def tail() -> None:
            nonlocal written
            passed = 0  # a new connection begins at the first line again
            async for text in self._client.tail_job_logs(job):
                write(text[max(0, written - passed) :])
                passed += len(text)
                written = max(written, passed)

        while True:
            before, reason = written, "it ended"
            try:
                asyncio.run(tail())
            except ClusterError:
                raise
            except Exception as error:  # aiohttp's, RuntimeError: a proxy or the head closed the connection
                reason = str(error)
            record = self.get(job)
            if record.over:
                return record
            failures = 0 if written > before else failures + 1
            if failures > RECONNECTS:
                raise ClusterError(f"the log of {job} breaks off: {reason}. The job goes on: `tunefleet status {job}`.")
            time.sleep(1)

    def wait(self, job: str, seconds: float | None = None) -> JobRecord:
        """Waits until the job has ended, or `seconds` have passed; None: as long as it takes.

        Raises:
            ClusterError: no such job, or the cluster does not answer.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while not (record := self.get(job)).over and (until is None or time.monotonic() < until):
            time.sleep(POLL_SECONDS)
        return record

    def stop(self, job: str) -> JobRecord:
        """Signals the driver to end, and waits: its trials are saved, or it is killed after `STOP_SECONDS`.

        Raises:
            ClusterError: no such job, or the cluster does not answer.
        """
        if not self.get(job).over:
            self._call(lambda: self._client.stop_job(job))
        return self.wait(job, 2 * STOP_SECONDS)

    def forget(self, job: str) -> None:
        """Removes a job that has ended from the cluster's list.

        Raises:
            ClusterError: it has not ended, or there is none.
        """
        self._call(lambda: self._client.delete_job(job))

    def _call(self, request: Callable[[], Any]) -> Any:
        """Calls Ray's client; its errors become a ClusterError in the user's terms."""
        import requests
        from ray.exceptions import AuthenticationError

        url = self.dashboard.url
        try:
            return request()
        except AuthenticationError as error:
            raise ClusterError(f"{url} refused the token. Was the cluster started anew?") from error
        except (ConnectionError, requests.RequestException) as error:
            raise ClusterError(f"{url} does not answer any more: {error}. Jobs go on without us; try again.") from error
        except RuntimeError as error:
            raise cluster_error(url, str(error)) from error


class UnknownJob(ClusterError):
    """The cluster has no job of that id."""


def cluster_error(url: str, text: str) -> ClusterError:
    """Converts a RuntimeError of Ray's client, whose text is 'Request failed with status code N: BODY'."""
    found = re.match(r"Request failed with status code (\d+): (.*)", text, re.DOTALL)
    status, body = (int(found.group(1)), printable(found.group(2))) if found else (0, printable(text))
    if status == 404:
        return UnknownJob(f"{url}: {body.strip(' .')}; `tunefleet jobs` lists those that are known")
    if status == 413:
        return ClusterError(
            f"{url} takes at most {UPLOAD_LIMIT >> 20} MiB in one upload (or a proxy before it less). Put the data "
            "where all nodes see them and name that path with --on-cluster."
        )
    lines = [line for line in body.strip().splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else text  # the rest is the server's traceback
    return ClusterError(f"{url}: HTTP {status or 'error'}: {reason} Look at the head's dashboard.log.")


def job_log_folder(name: Callable[[str], str]) -> Path:
    """Returns a folder for the job that this process is, below the log folder that the dashboard shows; not made yet.

    Args:
        name: of the folder, from the job's id.

    Raises:
        ClusterError: this is no job.
    """
    import json

    import ray

    about = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("metadata", {})
    if "job_submission_id" not in about:
        raise ClusterError("this process is no Ray job: it is started by `tunefleet fetch`")
    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    try:
        return logs_folder() / name(about["job_submission_id"])
    finally:
        ray.shutdown()
