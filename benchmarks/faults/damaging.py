"""Damages one file of an interrupted run, then resumes the run.

The machine "goes down" in the middle of a study; its run folder and its shared memory are saved. For each case they are
restored, one file of them is cut off or has bits flipped (which, where and how: drawn from the seed), and
`tunefleet resume` runs in a process of its own. What may come out:

    as undisturbed   every trial, report and score as in a run that nobody disturbed; of a file that was needed,
                     standard error says what is used instead
    refused          the exit status is not 0, and standard error names the file
    WRONG            anything else: another outcome, or an error that names nothing
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support.damage import damage, files_of
from tests.support.drivers import own_environment, run_until_power_cut
from trainables.machine.shared_memory import SharedMemory
from tuning.store.study_store import StudyStore, sqlite_url

NAME = "damaged"
COMMAND = (sys.executable, "-m", "tuning.cli")
STRATEGIES: dict[str, tuple[dict[str, Any], int]] = {  # and after how many reports the machine goes down
    "hyperopt_asha": ({"kind": "hyperopt_asha", "trials": 8, "initial_random": 4}, 9),
    "pbt": ({"kind": "pbt", "population": 3, "quantile": 0.34}, 8),
    "grid": ({"kind": "grid", "points": 4}, 9),
}
SECONDS = 300  # that a driver may take on a busy machine
AS_UNDISTURBED, REFUSED, WRONG = "as undisturbed", "refused", "WRONG"


class Verdict(NamedTuple):
    """The result of one case."""

    strategy: str
    kind: str  # of file
    file: str
    how: str  # it was damaged
    verdict: str
    said: str  # on standard error, of the file
    status: int


@dataclass(frozen=True)
class Interrupted:
    """A run that can be restored to the moment when the machine went down."""

    strategy: str
    folder: Path  # the run folder
    memory: Path  # of its study in shared memory
    aside: Path  # copies of both
    expected: list[Any]

    def bring_back(self) -> None:
        """Restores the run folder and the shared memory."""
        for place, name in ((self.folder, "run"), (self.memory, "memory")):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(self.aside / name, place)

    def forget(self) -> None:
        """Deletes everything of the run."""
        SharedMemory(self.folder / "studies" / f"{self.strategy}-seed0").remove()

    def files(self) -> dict[str, list[Path]]:
        """Returns the files that can be damaged, by kind."""
        return files_of(self.folder / "studies" / f"{self.strategy}-seed0", self.memory)


def interrupted(strategy: str, storage: Path, seconds_per_epoch: float = 0.25) -> Interrupted:
    """Run one study of a curve in one slot (so that its outcome depends on nothing else) to its end, and the same again
    until the machine goes down."""
    plug_in, reports = STRATEGIES[strategy]
    specs = {}
    for name, seconds in (("whole", 0.0), ("stopped", seconds_per_epoch)):
        (storage / name).mkdir(parents=True)
        specs[name] = storage / f"{name}.yaml"
        specs[name].write_text(yaml.safe_dump(_spec(plug_in, storage / name, seconds)))
    whole = _command(storage, "run", str(specs["whole"]))
    assert whole.returncode == 0, whole.stderr
    run_until_power_cut([*COMMAND, "run", str(specs["stopped"])], reports, storage)
    folder = storage / "stopped" / NAME
    memory = SharedMemory(folder / "studies" / f"{strategy}-seed0")
    memory.close()
    shutil.copytree(folder, storage / "aside" / "run")
    shutil.copytree(memory.folder, storage / "aside" / "memory")
    expected = outcome(storage / "whole" / NAME)
    return Interrupted(strategy, folder, memory.folder, storage / "aside", expected)


def _spec(plug_in: dict[str, Any], storage: Path, seconds: float) -> dict[str, Any]:
    return {
        "name": NAME,
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": seconds},
        "strategies": [plug_in],
        "cluster": {"storage": str(storage), "max_concurrent": 1},
    }


def outcome(folder: Path) -> list[Any]:
    """Returns values, end and scores of each trial that no interruption has lost, and the test score."""
    (study,) = StudyStore(sqlite_url(folder / "study.db")).load(NAME).studies
    trials = [
        [trial.params["learning_rate"], trial.state.value, [[r.epoch, r.metrics["accuracy"]] for r in trial.reports]]
        for trial in study.trials
        if "lost in an interruption" not in (trial.error or "")
    ]
    test = study.test and [study.test.epoch, study.test.params["learning_rate"], study.test.metrics["accuracy"]]
    return [study.state.value, sorted(trials), test]


def resume(run: Interrupted) -> subprocess.CompletedProcess[str]:
    """Runs `tunefleet resume` in a process of its own."""
    return _command(run.folder.parent, "resume", NAME, "--storage", str(run.folder.parent))


def attempt(run: Interrupted, kind: str, file: Path, rng: random.Random) -> Verdict:
    """Runs one case: restores the run, damages the file, resumes."""
    how = damage(file, rng)
    done = resume(run)
    lines = [line for line in done.stderr.splitlines() if file.name in line]
    if done.returncode != 0:
        verdict = REFUSED if lines else WRONG
    else:
        verdict = AS_UNDISTURBED if outcome(run.folder) == run.expected else WRONG
    said = lines[0] if lines else "" if verdict != WRONG else done.stderr[-500:]
    return Verdict(run.strategy, kind, file.name, how, verdict, said, done.returncode)


def cases(runs: Sequence[Interrupted], number: int, seed: int) -> Iterator[Verdict]:
    """Returns `number` cases, with the kinds of file in turn."""
    rng = random.Random(seed)
    for case in range(number):
        run = runs[case % len(runs)]
        run.bring_back()
        files = run.files()
        kind = list(files)[case // len(runs) % len(files)]
        yield attempt(run, kind, rng.choice(files[kind]), rng)


def _command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = [*COMMAND, *arguments], own_environment()
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
