"""The process that writes one W&B run. Imports wandb only after it has told wandb where to write."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray


class RunWriter:
    """An actor beside the driver: `run` in one thread writes what `put` brings in another."""

    def __init__(self, folder: str, temporary: str, *, exclude: list[str], to_config: list[str], **init: Any) -> None:
        """Called in the actor's own process.

        Args:
            folder: the run folder; all that wandb keeps is below its `wandb`.
            temporary: for wandb's sockets and empty folders; the driver removes it.
            exclude: keys of a result that are not logged.
            to_config: keys that belong to the run's configuration.
            init: arguments of `wandb.init`.
        """
        for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
            place = Path(folder, "wandb", name.lower())
            place.mkdir(parents=True, exist_ok=True)
            os.environ[f"WANDB_{name}_DIR"] = str(place)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the driver ends by it, and then has the run written to its end
        os.environ["TMPDIR"] = tempfile.tempdir = temporary  # wandb makes folders there as soon as it is imported
        from ray.air.integrations.wandb import _WandbLoggingActor

        self._init = init
        self._items: queue.SimpleQueue[tuple[int, tuple[Any, Any]]] = queue.SimpleQueue()
        self._filter = _WandbLoggingActor(folder, self._items, exclude, to_config)

    @ray.method(concurrency_group="inbox")  # type: ignore[untyped-decorator]
    def put(self, number: int, item: tuple[Any, Any]) -> None:
        """One result, or the end: the `number`-th item, from 0. An actor with threads may be called in any order."""
        self._items.put((number, item))

    def run(self, environment: Mapping[str, str]) -> None:
        """Write the run until its end.

        Args:
            environment: the driver's WANDB_ variables and the key, for this process only.
        """
        import wandb
        from ray.air.integrations.wandb import _QueueItem

        os.environ.update(environment)
        run = wandb.init(**self._init, settings=_settings())
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        for kind, result in self._in_order():
            if kind is _QueueItem.END:
                break
            log, config = self._filter._handle_result(result)
            # Ray's filter lets only numbers pass; a schedule's name is a value in force as well.
            texts = {f"params/{name}": value for name, value in result["params"].items() if isinstance(value, str)}
            run.config.update(config, allow_val_change=True)  # type: ignore[no-untyped-call]
            run.log({**log, **texts})
        run.finish()

    def _in_order(self) -> Iterator[tuple[Any, Any]]:
        early: dict[int, tuple[Any, Any]] = {}
        for expected in itertools.count():
            while expected not in early:
                number, item = self._items.get()
                early[number] = item
            yield early.pop(expected)


def _settings() -> Any:
    """Nothing about this process: it is not the one that trains. No git remote either: its URL may hold a password."""
    import wandb

    return wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True, x_disable_stats=True
    )
