"""A sweep on a W&B server as its agents see it: its configuration, and the commands that answer heartbeats.

The requests are those of `wandb agent` (wandb 0.31: `_sweep_with_runs`, `_register_agent`, `_agent_heartbeat` in
`wandb.apis.public.sweeps`), over HTTP: the client's own functions are private, and start a process that writes files.
A test compares the two against one server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainables.errors import InputError
from tuning.core_yaml import load_yaml
from tuning.tracking.tracking import Secret, TrackingError

URL_VARIABLE = "WANDB_BASE_URL"
TIMEOUT = 60.0  # seconds, that of wandb's agent
SWEEP = """query SweepWithRuns($entity: String, $project: String, $sweep: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { id name state config } } }"""
REGISTER = """mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id } } }"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }"""


class SweepPath(NamedTuple):
    """The path of a sweep on its server."""

    entity: str
    project: str
    id: str

    @classmethod
    def parse(cls, text: str) -> SweepPath:
        """Read ENTITY/PROJECT/ID.

        Raises:
            InputError: it is something else.
        """
        parts = text.strip("/").split("/")
        if len(parts) == 4 and parts[2] == "sweeps":  # as the address of its page ends
            parts.pop(2)
        if len(parts) != 3 or not all(parts):
            step = "such as my-team/my-project/abc123; `wandb sweep FILE` prints it"
            raise InputError("sweep", text, "must be ENTITY/PROJECT/ID", step)
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(self)


class SweepGone(TrackingError):
    """The server knows no such sweep any more."""


class SweepServer:
    """The server of one sweep.

    Args:
        path: of the sweep.
        key: of the account, kept in memory alone.
        url: of the server; None: that of WANDB_BASE_URL, else of W&B's settings.
    """

    def __init__(self, path: SweepPath, key: Secret, url: str | None = None) -> None:
        self.path, self._key = path, key
        self._url = f"{(url or _base_url()).rstrip('/')}/graphql"

    def configuration(self) -> dict[str, Any]:
        """The sweep's configuration, as its user wrote it.

        Raises:
            TrackingError: the server cannot be asked, or has no such sweep.
        """
        given = {"entity": self.path.entity, "project": self.path.project, "sweep": self.path.id}
        project = self._ask(SWEEP, given).get("project") or {}
        if (sweep := project.get("sweep")) is None:
            raise SweepGone(f"sweep {self.path}: not found on {self._url}. Check the path, and whose key it is.")
        configuration = load_yaml(sweep["config"])
        return dict(configuration) if isinstance(configuration, Mapping) else {}

    def register(self, host: str) -> str:
        """Register an agent, which serves one run at a time; returns its id.

        Raises:
            TrackingError: as `configuration`.
        """
        named = {"host": host, "projectName": self.path.project, "entityName": self.path.entity, "sweep": self.path.id}
        return str(self._ask(REGISTER, named)["createAgent"]["agent"]["id"])

    def heartbeat(self, agent: str, running: Mapping[str, bool]) -> list[dict[str, Any]]:
        """Tell that an agent is alive, and which runs of it are; returns the server's commands.

        Raises:
            TrackingError: as `configuration`.
        """
        told = {"id": agent, "metrics": json.dumps({}), "runState": json.dumps(dict(running))}
        commands: list[dict[str, Any]] = json.loads(self._ask(HEARTBEAT, told)["agentHeartbeat"]["commands"])
        return commands

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        import requests

        body: dict[str, Any] = {"query": query, "variables": dict(variables)}
        try:
            answer = requests.post(self._url, json=body, auth=("api", self._key.reveal()), timeout=TIMEOUT)
            answered = answer.json() if answer.ok else {}
        except (requests.RequestException, ValueError) as error:
            reason = type(error).__name__  # its text may hold the request
            raise TrackingError(f"sweep {self.path}: {self._url} cannot be asked: {reason}.") from None
        if answer.status_code == 404:
            raise SweepGone(f"sweep {self.path}: not found on {self._url}. It may have been deleted.")
        if answer.status_code in (401, 403):
            raise TrackingError(
                f"sweep {self.path}: {self._url} refuses the key. Check WANDB_API_KEY, and whose it is."
            )
        if not answer.ok:
            raise TrackingError(f"sweep {self.path}: {self._url} answers with status {answer.status_code}.")
        if (data := answered.get("data")) is None or answered.get("errors"):
            said = "; ".join(str(one.get("message")) for one in answered.get("errors") or ())
            raise TrackingError(f"sweep {self.path}: {self._url} answers: {said or 'nothing'}.")
        return dict(data)


def _base_url() -> str:
    if url := os.environ.get(URL_VARIABLE):
        return url
    import wandb

    return str(wandb.setup().settings.base_url)
