"""The actor that writes one W&B run. It imports wandb only after setting the folders that wandb writes to."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray


class RunWriter:
    """An actor on the driver's node: `put` queues items in one thread, `run` logs them in another."""

    def __init__(
        self,
        folder: str,
        temporary: str,
        *,
        exclude: list[str],
        to_config: list[str],
        aliases: Mapping[str, str] = MappingProxyType({}),
        **init: Any,
    ) -> None:
        """Runs in the actor's process.

        Args:
            folder: the run folder; wandb's files go to its subfolder `wandb`.
            temporary: a folder for wandb's sockets; the driver removes it.
            exclude: keys of a result that are not logged.
            to_config: keys that become part of the run's configuration.
            aliases: further names of what is logged: name -> the one under which it is logged anyway.
            init: arguments of `wandb.init`.
        """
        for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
            place = Path(folder, "wandb", name.lower())
            place.mkdir(parents=True, exist_ok=True)
            os.environ[f"WANDB_{name}_DIR"] = str(place)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a driver that ends by SIGTERM still has the run finished
        os.environ["TMPDIR"] = tempfile.tempdir = temporary  # wandb creates folders there at import
        from tuning.tune_compat.wandb import ResultFilter

        self._init, self._aliases = init, dict(aliases)
        self._items: queue.SimpleQueue[tuple[int, tuple[Any, Any]]] = queue.SimpleQueue()
        self._filter = ResultFilter(folder, exclude, to_config)

    @ray.method(concurrency_group="inbox")  # type: ignore[untyped-decorator]
    def put(self, number: int, item: tuple[Any, Any]) -> None:
        """Queues item `number` (0, 1, ...), a result or the end. Calls may arrive out of order."""
        self._items.put((number, item))

    def run(self, environment: Mapping[str, str]) -> None:
        """Logs the run until its end.

        Args:
            environment: the driver's WANDB_ variables and the key, set in this process only.
        """
        import wandb

        from tuning.tune_compat.wandb import is_end

        os.environ.update(environment)
        run = wandb.init(**self._init, settings=_settings())
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        for kind, result in self._in_order():
            if is_end(kind):
                break
            log, config = self._filter.split(result)
            # Ray's filter drops texts, but the name of a schedule is a hyperparameter, too.
            texts = {f"params/{name}": value for name, value in result["params"].items() if isinstance(value, str)}
            run.config.update(config, allow_val_change=True)  # type: ignore[no-untyped-call]
            also = {name: log[known] for name, known in self._aliases.items() if known in log}
            run.log({**log, **texts, **also})
        run.finish()

    def _in_order(self) -> Iterator[tuple[Any, Any]]:
        early: dict[int, tuple[Any, Any]] = {}
        for expected in itertools.count():
            while expected not in early:
                number, item = self._items.get()
                early[number] = item
            yield early.pop(expected)


def _settings() -> Any:
    """Disables system metrics, since this process does not train, and git, whose remote URL may hold a password."""
    import wandb

    return wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True, x_disable_stats=True
    )
