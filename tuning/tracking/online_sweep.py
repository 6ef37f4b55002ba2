"""Serves a sweep of a W&B server with all slots: one agent for each, since an agent has one run at a time.

A thread sends the agents' heartbeats while trials train, and takes the server's commands: `run` brings a run with its
values, `stop` ends one, `exit` ends an agent and the run that it has; no agent follows it. A trial is stopped at its
next report, which is recorded.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from tuning.tracking.sweep_server import SweepGone, SweepPath, SweepServer
from tuning.tracking.tracking import Secret, TrackingError

BEAT_SECONDS = 5.0  # as wandb's agent
PATIENCE = 3  # failed requests in a row, at the beginning, after which there is no server

logger = logging.getLogger(__name__)


class SweepRun(NamedTuple):
    """A run that the server has made for a trial: its id, and its values by the sweep's own names."""

    id: str
    values: Mapping[str, Any]


@dataclass
class _Agent:
    id: str
    run: str | None = None  # that it serves
    ended: bool = False  # it was told to exit


class OnlineSweep:
    """The runs of one sweep, as far as this process serves them.

    Args:
        path: of the sweep.
        metric: the sweep's name of the objective, under which its server looks for scores; None: it has none.
        objective: the objective's name here.
    """

    def __init__(self, path: SweepPath, metric: str | None, objective: str) -> None:
        self.path, self.metric, self.objective = path, metric, objective
        self.runs: dict[str, SweepRun] = {}  # by trial
        self._ended = set[str]()  # trials
        self._server: SweepServer | None = None
        self._agents: list[_Agent] = []
        self._waiting: deque[SweepRun] = deque()
        self._stopped = set[str]()  # runs
        self._over = False  # the server has no further run
        self._wanted = 0  # agents
        self._failures, self._error = 0, ""
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("an online sweep lives in the driver alone")

    def connect(self, key: Secret) -> None:
        """Talk to the server from now on, with this key."""
        self._server = SweepServer(self.path, key)

    @property
    def over(self) -> bool:
        """True if the server has no further run."""
        return self._over and not self._waiting

    def next_run(self) -> SweepRun | None:
        """The next run of the server's, for a slot that is free; None while there is none.

        Raises:
            TrackingError: the server cannot be asked.
        """
        self._start()
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._failures >= PATIENCE and not self.runs:
                raise TrackingError(self._error)
            busy = sum(agent.run is not None for agent in self._agents)
            self._wanted = max(self._wanted, busy + 1)
        if len(self._agents) < self._wanted:
            self._wake.set()
        return None

    def begin(self, trial_id: str, run: SweepRun) -> None:
        """Note that a trial has taken a run."""
        with self._lock:
            self.runs[trial_id] = run

    def end(self, trial_id: str) -> None:
        """Note that a trial has ended; its agent is free for another run."""
        with self._lock:
            self._ended.add(trial_id)
            ended = self.runs[trial_id].id if trial_id in self.runs else None
            for agent in self._agents:
                if agent.run is not None and agent.run == ended:
                    agent.run = None
        self._wake.set()

    def stops(self, trial_id: str) -> bool:
        """True if the server wants the trial to end."""
        return trial_id in self.runs and self.runs[trial_id].id in self._stopped

    @property
    def state(self) -> dict[str, Any]:
        """The runs by trial, the trials that have ended, and runs that no trial has yet, as JSON holds them."""
        with self._lock:
            runs = {trial: [run.id, dict(run.values)] for trial, run in self.runs.items()}
            waiting = [[run.id, dict(run.values)] for run in self._waiting]
            return {"runs": runs, "ended": sorted(self._ended), "waiting": waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the runs of a saved state: those that had not ended are served by new agents."""
        with self._lock:
            self.runs = {trial: SweepRun(run, values) for trial, (run, values) in state["runs"].items()}
            self._ended = set(state["ended"])
            self._waiting = deque(SweepRun(run, values) for run, values in state["waiting"])

    def close(self) -> None:
        """End the heartbeats; the server then takes runs that have not ended for crashed ones."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=BEAT_SECONDS)

    def _start(self) -> None:
        if self._thread is None:
            if self._server is None:
                raise TrackingError(f"sweep {self.path}: W&B is not online here. Set WANDB_API_KEY, wandb.mode=online.")
            self._thread = threading.Thread(target=self._beat, name="sweep-agent", daemon=True)
            self._thread.start()

    # In the thread.

    def _beat(self) -> None:
        while not self._closed:
            try:
                self._round()
                self._failures = 0
            except SweepGone as error:
                logger.warning("%s Runs that train go on to their end.", error)
                self._over = True
                return
            except TrackingError as error:
                self._failures, self._error = self._failures + 1, str(error)
                logger.warning("%s It is asked again in %g s.", error, BEAT_SECONDS)
            self._wake.wait(BEAT_SECONDS)
            self._wake.clear()

    def _round(self) -> None:
        """One heartbeat of each agent; new agents for slots, and for runs of an earlier process, come first."""
        server = self._server
        assert server is not None
        with self._lock:
            served = {agent.run for agent in self._agents}
            living = [run for trial, run in self.runs.items() if trial not in self._ended]
            orphans = [run.id for run in (*living, *self._waiting) if run.id not in served]
        for run in orphans:
            self._agents.append(_Agent(server.register(socket.gethostname()), run))
        while not self._over and len(self._agents) < self._wanted:
            self._agents.append(_Agent(server.register(socket.gethostname())))
        for agent in [agent for agent in self._agents if not agent.ended]:
            running = {} if agent.run is None else {agent.run: True}
            for command in server.heartbeat(agent.id, running):
                self._obey(agent, command)

    def _obey(self, agent: _Agent, command: Mapping[str, Any]) -> None:
        kind, run = command.get("type"), str(command.get("run_id"))
        with self._lock:
            if kind in ("run", "resume"):
                agent.run = run
                self._waiting.append(SweepRun(run, flat_values(command.get("args") or {})))
            elif kind == "stop":
                self._stopped.add(run)
            elif kind == "exit":
                agent.ended = self._over = True
                if agent.run is not None:
                    self._stopped.add(agent.run)
            else:
                logger.warning("sweep %s: its server commands %r, which is not known here", self.path, kind)


def flat_values(args: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a `run` command by name; those of a nested parameter have dotted names."""
    found: dict[str, Any] = {}

    def enter(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                enter(f"{name}.{key}", inner)
        else:
            found[name] = value

    for name, given in args.items():
        enter(name, given["value"] if isinstance(given, Mapping) and "value" in given else given)
    return found
