"""A W&B server that knows one sweep: enough of GraphQL and of file streams for agents, and for runs of the real client.

It answers as far as the client of wandb 0.31 asks. An agent has one run at a time: one without a run is given the next
proposal, as by W&B's own server.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY, PROJECT, SWEEP = "me", "proj", "abc123"
PATH = f"{ENTITY}/{PROJECT}/{SWEEP}"


@dataclass
class ServedRun:
    """A run of the sweep, as the server knows it.

    Args:
        values: as they were proposed, by name.
        agent: that serves it.
        beats: heartbeats of that agent with the run in them.
        created: what the client has sent to create it.
        rows: its history.
        exit_code: None while it goes on.
    """

    values: Mapping[str, Any]
    agent: str
    beats: int = 0
    created: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


class SweepsServer(ThreadingHTTPServer):
    """Serves one sweep on a free port.

    Args:
        config: the sweep's configuration.
        proposals: the values of its runs, in order; after them, agents are told to exit.
        stopped_after: run -> so many heartbeats with it, and the server commands to stop it.
        ends: False: an agent without a run is told nothing when no proposal is left.
    """

    daemon_threads = True

    def __init__(
        self,
        config: Mapping[str, Any],
        proposals: Sequence[Mapping[str, Any]],
        *,
        stopped_after: Mapping[str, int] | None = None,
        ends: bool = True,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.config, self.proposals = dict(config), list(proposals)
        self.stopped_after, self.ends = dict(stopped_after or {}), ends
        self.runs: dict[str, ServedRun] = {}
        self.agents: list[str] = []
        self.credentials: set[str] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []  # operation and variables
        self.missing = False  # true: the sweep was deleted
        self.cancelled = False  # true: agents are told to exit, also those that have a run
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address for WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def operations(self, name: str) -> list[dict[str, Any]]:
        """Returns the variables of each request of that name."""
        return [variables for operation, variables in self.asked if operation == name]

    def answer(self, operation: str, query: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the data of one GraphQL request; None: not found."""
        self.asked.append((operation, given))
        project = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}
        if operation == "CreateAgent":
            self.agents.append(f"agent-{len(self.agents)}")
            return {"createAgent": {"agent": {"id": self.agents[-1]}}}
        if operation == "Heartbeat":
            if self.missing:
                return None
            commands = self._commands(given["id"], json.loads(given["runState"]))
            return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}
        if operation == "UpsertSweep":
            return {"upsertSweep": {"sweep": {"name": SWEEP, "project": project}, "configValidationWarnings": []}}
        if operation in ("SweepWithRuns", "SweepConfig"):
            known = given["sweep"] == SWEEP
            sweep = {"id": "s", "name": SWEEP, "state": "RUNNING", "config": yaml.safe_dump(self.config)}
            return {"project": {"sweep": {**sweep, "runs": {"edges": []}} if known else None}}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._created(given, project), "inserted": False}}
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": _empty_bucket(given["name"])}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        return _of_account(operation, query)

    def _commands(self, agent: str, running: Mapping[str, bool]) -> list[dict[str, Any]]:
        for run in running:
            served = self.runs.setdefault(run, ServedRun({}, agent))
            served.agent, served.beats = agent, served.beats + 1
            if self.cancelled:
                return [{"type": "exit"}]
            if served.beats >= self.stopped_after.get(run, 10**9):
                return [{"type": "stop", "run_id": run}]
        if running:
            return []
        if self.proposals:
            values, run = self.proposals.pop(0), f"run-{len(self.runs)}"
            self.runs[run] = ServedRun(values, agent)
            args = {name: {"value": value} for name, value in values.items()}
            return [{"type": "run", "run_id": run, "args": args, "program": "train.py"}]
        return [{"type": "exit"}] if self.ends else []

    def _created(self, given: dict[str, Any], project: dict[str, Any]) -> dict[str, Any]:
        name = given["name"]
        served = self.runs.setdefault(name, ServedRun({}, ""))
        served.created = {**served.created, **{key: value for key, value in given.items() if value is not None}}
        return {
            **{"id": f"id-{name}", "name": name, "displayName": given.get("displayName") or name, "description": ""},
            **{"config": given.get("config") or "{}", "sweepName": given.get("sweep"), "project": project},
            "historyLineCount": 0,
        }

    def stream(self, run: str, body: Mapping[str, Any]) -> None:
        """Takes what a client streams of a run."""
        served = self.runs.setdefault(run, ServedRun({}, ""))
        for line in body.get("files", {}).get("wandb-history.jsonl", {}).get("content", ()):
            served.rows.append(json.loads(line))
        if body.get("complete"):
            served.exit_code = body.get("exitcode")


def _empty_bucket(name: str) -> dict[str, Any]:
    """Returns a run that was made and has not begun."""
    texts = {"summaryMetrics": "{}", "historyTail": "[]", "eventsTail": "[]", "config": "{}", "wandbConfig": "{}"}
    counts = {"logLineCount": 0, "historyLineCount": 0, "eventsLineCount": 0}
    return {"id": f"id-{name}", "name": name, "displayName": name, "tags": [], "notes": "", **texts, **counts}


def _of_account(operation: str, query: str) -> dict[str, Any]:
    if "serverInfo" in query:
        version = {"min_cli_version": "0.0.1", "max_cli_version": "99"}
        return {"serverInfo": {"features": [], "cliVersionInfo": version, "latestLocalVersionInfo": None}}
    if "viewer" in query:
        account = {"id": "u", "username": ENTITY, "email": "a@b", "entity": ENTITY, "flags": "{}"}
        return {"viewer": {**account, "teams": {"edges": []}}}
    return {}


class _Handler(BaseHTTPRequestHandler):
    server: SweepsServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.server.lock:
            self.server.credentials.add(self.headers.get("Authorization", ""))
            if (stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)) is not None:
                self.server.stream(stream[1], json.loads(body or b"{}"))
                answered: dict[str, Any] | None = {"exitcode": None, "limits": {}}
            else:
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                data = self.server.answer(
                    operation[1] if operation else "", asked["query"], asked.get("variables") or {}
                )
                answered = None if data is None else {"data": data}
        self._send(404 if answered is None else 200, answered or {"errors": [{"message": "not found"}]})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send(200, {})

    do_GET = do_PUT

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing on standard error."""
