"""Everything that the READMEs show is run: their commands, Python, spec, strategy and training loop."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from trainables.spec import Objective
from tuning.cli import main
from tuning.cli.app import tunefleet
from tuning.space import Space
from tuning.spec.loading import load_spec
from tuning.store.study_store import StudyStore, sqlite_url
from tuning.testing.simulated_ray import simulated_ray

ROOT = Path(__file__).parents[2]
PAPERS = ("README.md", "tuning/README.md", "cluster/README.md")
TEXTS = "\n".join(["text,label", *(f"row {i} {('bad,neg', 'good,pos')[i % 2]}" for i in range(60))])
# Run in tests/tuning/remote/test_jobs.py, tests/cluster/nodes/test_security.py and
# tests/tuning/selection/test_train_final.py, tests/tuning/tracking/test_sweep_agent.py.
ELSEWHERE = ("submit", "jobs", "fetch", "cluster", "train-final", "sweep-agent")
# A formula, in place of hours.
QUICK = ["trainable=learning_curve", "space={learning_rate: {loguniform: [1e-4, 1e-2]}}"]


def blocks(language: str, paper: str) -> list[str]:
    """Returns the fenced blocks of that language in a paper, in order."""
    fenced = (block.partition("\n") for block in (ROOT / paper).read_text().split("```")[1::2])
    return [text for first, _, text in fenced if first == language]


def code(part: str) -> str:
    """Returns the one block of Python in the papers that holds `part`."""
    (found,) = [block for paper in PAPERS for block in blocks("python", paper) if part in block]
    return found


def commands(program: str, paper: str = "README.md") -> list[list[str]]:
    """Returns the words after `program` of each of its lines in a paper's bash blocks, without comments."""
    lines = "\n".join(blocks("bash", paper)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


def parse(words: list[str]) -> None:
    """Parses the words after `tunefleet`, without running the command.

    Raises:
        click.UsageError: the command line is wrong.
    """
    command, context = tunefleet.commands[words[0]], click.Context(tunefleet)
    rest = words[1:]
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest, parent=context)


def execute(source: str) -> dict[str, Any]:
    """Runs `source` as a module of its own and returns the names that it defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "README.md", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a working directory with the files that the READMEs assume."""
    (tmp_path / "texts.csv").write_text(TEXTS)
    rte = tmp_path / "data" / "rte"
    rte.mkdir(parents=True)
    pairs = [f"premise {i},hypothesis {i},{i % 2}" for i in range(80)]
    (rte / "train.csv").write_text("\n".join(["sentence1,sentence2,label", *pairs]))
    work = tmp_path / "data" / "work"
    work.mkdir()
    (work / "texts.csv").write_text(TEXTS)
    monkeypatch.chdir(work)
    return work


@pytest.mark.unit
def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in commands("make"):
        assert re.search(rf"^{words[0]}:", makefile, flags=re.MULTILINE)


@pytest.mark.tune
@pytest.mark.parametrize("paper", PAPERS)
def test_every_tunefleet_command_does_what_it_says(folder: Path, paper: str) -> None:
    """They run in the paper's order; `run` computes a formula instead of training, with the paper's own overrides."""
    ran, recorded, removed = 0, "runs/first/study.db", False
    for words in commands("tunefleet", paper):
        if words[0] in ELSEWHERE:
            parse(words)
            continue
        if words[0] == "estimate":  # without the minute of training
            drop_spaces(folder / words[1])
            assert main([*words, "--no-calibration", *QUICK]) == 0, words
            continue
        if words[0] == "run" and words[1] == "experiment.yaml":
            drop_spaces(folder / words[1])
            typed = [*words, *QUICK]
            ran += 1
        elif words[0] == "run":
            typed = ["validate", *words[1:]]  # hours of training: as far as a spec can be checked
        else:
            typed = words
        if words[0] == "rm":
            removed = True
            assert all((folder / name).is_file() for name in (recorded, "first.html", "first-export/trials.csv"))
        with simulated_ray():
            assert main(typed) == 0, typed
    assert ran == (paper != "cluster/README.md")
    assert (folder / "texts.yaml").is_file() == (paper == "tuning/README.md")
    assert (folder / recorded).exists() == (ran == 1 and not removed)


def drop_spaces(path: Path) -> None:
    """Removes the own space of the starter's grid, which is for a real model."""
    spec = yaml.safe_load(path.read_text())
    for strategy in spec["strategies"]:
        strategy.pop("space", None)
    path.write_text(yaml.safe_dump(spec))


@pytest.mark.tune
def test_the_python_example_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = next(block for block in blocks("python", "README.md") if "import tunefleet" in block)
    closed = {
        "trainable": "learning_curve",
        "space": {"learning_rate": {"loguniform": [1e-4, 1e-2]}},
        "fixed": {},
        "strategies": [{"kind": "grid"}, {"kind": "pbt", "population": 3}],
    }
    assert '"epochs": 1' in source
    source = source.replace('"epochs": 1', f'"epochs": 4, **{closed}')
    with simulated_ray():
        execute(source)
    assert "No " in capsys.readouterr().out.splitlines()[-1]  # a closed form has no test rows: no verdict


@pytest.mark.unit
def test_the_example_spec_is_valid(folder: Path) -> None:
    spec = load_spec(yaml.safe_load(blocks("yaml", "README.md")[0]))
    assert [strategy.kind for strategy in spec.strategies] == ["grid", "hyperopt_asha", "pbt", "defaults"]


@pytest.mark.unit
def test_the_example_strategy_keeps_the_contract() -> None:
    names = execute(code("class RandomSearch"))
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-3]}})
    objective = Objective(metric="accuracy", mode="max")
    first, again, other = (names["RandomSearch"](trials=3).plan(space, objective, 2, seed) for seed in (0, 0, 1))
    proposals = [[plan.searcher.suggest(str(i)) for i in range(3)] for plan in (first, again, other)]
    assert proposals[0] == proposals[1] != proposals[2]
    assert all(space.contains(params) for params in proposals[0])


@pytest.mark.unit
def test_the_example_training_class_advances_and_keeps_the_interface(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks("python", "trainables/README.md")
    names = execute(example)
    assert capsys.readouterr().out.startswith("Evaluation(epoch=1.0, metrics={'accuracy': 0.")
    names["trial"].save(tmp_path, weights_only=True)
    names["trial"].restore(tmp_path, weights_only=True)


@pytest.mark.unit
def test_the_tree_of_trainables_names_what_is_there() -> None:
    tree, package = blocks("", "trainables/README.md")[0], ROOT / "trainables"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^(\w+)/", tree, flags=re.MULTILINE)) == folders
    here = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert here == set(re.findall(r"\w+\.py", "".join(re.findall(r"^\w+\.py.*?  ", tree, flags=re.MULTILINE))))
    assert set(re.findall(r"\w+\.py", tree)) <= {path.name for path in package.rglob("*.py")}


@pytest.mark.system
def test_the_example_training_loop_is_tuned_by_pbt(folder: Path) -> None:
    """The loop runs in a process of its own, with its module in the working directory, as a user's."""
    (folder / "my_module.py").write_text(code("def train("))
    command = [
        "run", "quickstart", "name=own", "trainable=my_module:train", "epochs=3", "fixed={}",
        "space={learning_rate: {loguniform: [1e-4, 1e-2]}}", "strategies=[{kind: pbt, population: 3}]",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli", *command],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pbt" in done.stdout
    (study,) = StudyStore(sqlite_url(folder / "runs/own/study.db")).load("own").studies
    assert any(trial.lineage for trial in study.trials)
