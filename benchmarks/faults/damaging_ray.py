"""The peer in the point `damage`: Ray Tune alone, with the same strategy, curve, slot and damage.

It resumes by `Tuner.restore`. Ray reports nothing about damage, so the result is judged by the trials (the same as
undisturbed, fewer or other ones) and by the exit status of a script that does what Ray's documentation shows.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.damage import damage
from tests.support.drivers import own_environment, run_until_power_cut

REPORTS = 9  # after which the machine goes down
EPOCHS, TRIALS = 4, 8
PATIENCE = 60.0  # seconds that a run may take; undisturbed it takes 15
KINDS = {
    "nothing": "",
    "experiment state": "experiment_state-*.json",
    "searcher": "searcher-state-*.pkl",
    "newest checkpoint": "*/checkpoint_*/*",
}


def train(config: dict[str, Any]) -> None:
    """Trains a curve that keeps its integral in a checkpoint."""
    import math
    import time

    from ray import tune

    epoch, progress = 0, 0.0
    if (start := tune.get_checkpoint()) is not None:
        epoch, progress = json.loads(Path(start.to_directory(), "curve.json").read_text())
    while epoch < EPOCHS:
        time.sleep(config["seconds"])
        epoch, progress = epoch + 1, progress + math.exp(-(math.log10(config["learning_rate"] / 1e-3) ** 2))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "curve.json").write_text(json.dumps([epoch, progress]))
            scores = {"epoch": epoch, "accuracy": 1 - math.exp(-0.5 * progress)}
            tune.report(scores, checkpoint=tune.Checkpoint.from_directory(folder))
        print("  epoch ", epoch, flush=True)


def search(folder: Path, seconds: float, *, restore: bool) -> None:
    """Runs a search as the documentation shows it, in a process of its own; prints the trials at the end."""
    os.environ |= {"TUNE_GLOBAL_CHECKPOINT_S": "1", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["RAY_DEDUP_LOGS"] = "0"  # or equal lines of two trials are told as one
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.hyperopt import HyperOptSearch

    if restore:
        tuner = tune.Tuner.restore(str(folder / "study"), trainable=train, resume_errored=True)
    else:
        tuner = tune.Tuner(
            train,
            param_space={"learning_rate": tune.loguniform(1e-5, 1e-2), "seconds": seconds},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=TRIALS,
                max_concurrent_trials=1,
                search_alg=HyperOptSearch(random_state_seed=0, n_initial_points=4),
                scheduler=ASHAScheduler(time_attr="epoch", max_t=EPOCHS, reduction_factor=2),
            ),
            run_config=tune.RunConfig(
                name="study", storage_path=str(folder), failure_config=tune.FailureConfig(max_failures=2)
            ),
        )
    results = tuner.fit()
    found = sorted(
        [r.config["learning_rate"], r.metrics.get("epoch"), r.metrics.get("accuracy"), r.error is not None]
        for r in results
        if r.config
    )
    print("FOUND", json.dumps([len(results), found]), flush=True)


def _command(folder: Path, seconds: float, *, restore: bool) -> list[str]:
    call = f"search(Path({str(folder)!r}), {seconds}, restore={restore})"
    program = f"from pathlib import Path; from benchmarks.faults.damaging_ray import search; {call}"
    return [sys.executable, "-c", program]


def attempt(folder: Path, seconds: float, *, restore: bool) -> tuple[int | None, Any]:
    """Returns the exit status (None: it had not ended after `PATIENCE`), and the trials at the end."""
    command, environment = _command(folder, seconds, restore=restore), own_environment()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return None, None
    told = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return done.returncode, json.loads(told[-1].partition(" ")[2]) if told else None


def judged(status: int | None, found: Any, expected: Any) -> str:
    """Returns the judgement of one case as a word."""
    if status is None:
        return f"no end within {PATIENCE:g} s"
    if found is None:
        return f"an exception, exit status {status}"
    if found == expected:
        return "as undisturbed"
    number, trials = found
    failed = sum(trial[3] for trial in trials)
    return f"exit status {status} with {number} trials (of {TRIALS}), {failed} failed; another outcome"


def outcomes(number: int, seed: int, say: Callable[[str], None]) -> Counter[tuple[str, str]]:
    """Counts how often each damage came to each result in `number` cases; also without damage."""
    rng, counts = random.Random(seed), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory(prefix="tfb-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        folder, aside = Path(scratch, "run"), Path(scratch, "aside")
        _, expected = attempt(Path(scratch, "whole"), 0.25, restore=False)
        run_until_power_cut(_command(folder, 0.25, restore=False), REPORTS, Path(scratch))
        folder.rename(aside)
        for case in range(number):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(aside, folder)
            kind = list(KINDS)[case % len(KINDS)]
            files = (folder / "study").glob(KINDS[kind]) if KINDS[kind] else ()
            file = max(files, key=lambda path: path.stat().st_mtime, default=None)
            how = "" if file is None else f"{file.name} {damage(file, rng)}"
            verdict = judged(*attempt(folder, 0.25, restore=True), expected)
            counts[kind, verdict] += 1
            say(f"raw Ray {case + 1}: {verdict}: {kind}: {how}")
    return counts
