"""Climbs the ladder on one GPU, in ten minutes at most: `python -m benchmarks.ladder --out ladder.json`.

Weights are random, so torch and transformers are all that is needed; arms that time our Trainer need this project's
packages as well, and are recorded as left out without them. The JSON is whole after each arm, and the arms stand in the
order of what they decide. `--dry-run` takes tiny shapes on the CPU, and shows that everything runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
import transformers.models.bert.modeling_bert  # noqa: F401  once, before the processes are forked

from benchmarks.ladder.arms import ARMS
from benchmarks.ladder.mps import PIPES, Daemon
from benchmarks.ladder.setting import FULL, TINY, Setting
from benchmarks.ladder.workers import Workers

SECONDS = 560.0  # of the whole run; imports take up to 20 more


def main(argv: list[str] | None = None) -> int:
    """Runs the arms; exit status 1 if one has failed, 2 without a GPU."""
    began = time.monotonic()
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.ladder", *given]),
        "shapes": json.loads(json.dumps((TINY if options.dry_run else FULL)._asdict(), default=vars)),
        "cut_off": None,  # the arm that was running when the time was up
        "arms": {},
    }
    compiled = tempfile.mkdtemp(prefix="ladder-compiled-")
    setting, daemon, everybody = _prepared(options.dry_run, compiled)
    running = [""]
    lock = threading.Lock()

    def write() -> None:
        with lock:
            whole = Path(f"{options.out}.part")
            whole.write_text(json.dumps(result, indent=1) + "\n")
            whole.replace(options.out)

    def stop() -> None:
        result["cut_off"] = running[0]
        with contextlib.suppress(RuntimeError):  # the arm adds to its results at this moment: the last file stays
            write()
        for workers in everybody:
            workers.end()
        daemon.end()
        os._exit(1)

    alarm = threading.Timer(options.seconds - (time.monotonic() - began), stop)
    alarm.daemon = True
    try:
        if not options.dry_run and not torch.cuda.is_available():
            print("benchmarks.ladder: torch finds no CUDA device on this machine; --dry-run", file=sys.stderr)
            return 2
        alarm.start()
        for name in options.arms:
            arm, since = ARMS[name], time.monotonic()
            running[0], entry = name, result["arms"].setdefault(name, {"found": {}})
            setting.until = since + arm.seconds
            try:
                arm.measure(setting, entry["found"])
            except Exception as error:
                entry["error"] = f"{type(error).__name__}: {error}"
            entry["seconds"] = time.monotonic() - since
            write()
            print(f"{name}: {json.dumps(entry)}", flush=True)
    finally:
        alarm.cancel()
        for workers in everybody:
            workers.end()
        daemon.end()
        shutil.rmtree(compiled, ignore_errors=True)
    return 1 if any("error" in entry for entry in result["arms"].values()) else 0


def _prepared(dry_run: bool, compiled: str) -> tuple[Setting, Daemon, list[Workers]]:
    """Forks all processes, before this one uses CUDA."""
    shapes, daemon = TINY if dry_run else FULL, Daemon()
    most, nobody = max(shapes.processes), {PIPES: str(daemon.folder / "nobody")}
    alone = Workers(most, nobody)
    segments = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    fresh = [Workers(1, {**nobody, **settings}) for settings in (segments, {})]
    fresh += [Workers(1, {**nobody, "TORCHINDUCTOR_CACHE_DIR": compiled}) for _ in range(2)]
    everybody, shared = [alone, *fresh], None
    why = "a dry run" if dry_run else daemon.start()
    if why is None:
        shared = Workers(most, daemon.client)
        everybody.append(shared)
    os.environ |= {PIPES: str(daemon.folder / "nobody"), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # this process is alone
    return Setting("cpu" if dry_run else "cuda", shapes, alone, shared, why, fresh), daemon, everybody


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("ladder.json"), help="the result (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole run (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    arms = f"of {', '.join(ARMS)}"
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=arms)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
