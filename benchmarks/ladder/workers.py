"""Processes that are forked before CUDA is used, wait for a task each, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Task = Callable[..., Any]


class Workers:
    """Some processes with the same environment variables, which they set before they use CUDA.

    Args:
        count: how many.
        environment: the variables; None unsets one.
    """

    def __init__(self, count: int, environment: Mapping[str, str | None] | None = None) -> None:
        fork = multiprocessing.get_context("fork")
        self._go = fork.Event()
        self._pipes: list[Any] = []
        self._processes: list[Any] = []
        for _ in range(count):
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_serve, args=(theirs, dict(environment or {}), self._go))
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def call(self, count: int, task: Task, *arguments: Any, seconds: float) -> list[Any]:
        """Runs `task(*arguments, wait)` in `count` of the processes; `wait()` returns in all of them at once.

        Args:
            seconds: for all of them to answer.

        Raises:
            RuntimeError: one has failed; or has died or does not answer in time, and then all of them are ended.
        """
        if not self._processes:
            raise RuntimeError("the processes have ended, after one that did not answer")
        until, used = time.monotonic() + seconds, self._pipes[:count]
        self._go.clear()
        for pipe in used:
            pipe.send((task, arguments))
        first = self._answers(used, until)
        ready = [pipe for pipe, kind, _ in first if kind == "ready"]
        self._go.set()  # also if one has failed: those that wait go on
        last = self._answers(ready, until)
        if failed := [value for _, kind, value in (*first, *last) if kind == "failed"]:
            raise RuntimeError(failed[0])
        return [value for _, _, value in last]

    def _answers(self, pipes: Sequence[Any], until: float) -> list[tuple[Any, str, Any]]:
        """One answer of each pipe: the pipe, "ready", "done" or "failed", and a value."""
        answers = []
        for pipe in pipes:
            try:
                if not pipe.poll(max(0.0, until - time.monotonic())):
                    raise EOFError
                answers.append((pipe, *pipe.recv()))
            except EOFError as error:
                self.end()
                raise RuntimeError("a process has died, or did not answer in time") from error
        return answers

    def end(self) -> None:
        """Ends the processes of these workers."""
        processes, self._processes = self._processes, []
        for process in processes:
            process.kill()
            process.join()


def _serve(pipe: Any, environment: Mapping[str, str | None], go: Any) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    while True:
        try:
            task, arguments = pipe.recv()
        except EOFError:
            return

        def wait() -> None:
            pipe.send(("ready", None))
            go.wait()

        try:
            pipe.send(("done", task(*arguments, wait)))
        except Exception as error:
            last: Sequence[str] = traceback.format_exception(error)
            pipe.send(("failed", f"{type(error).__name__}: {error} {last[-2].strip() if len(last) > 1 else ''}"))
