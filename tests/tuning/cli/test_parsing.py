"""The words of a command line are read: order, abbreviations, mistakes with their next step, completions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recorded_runs import run_left
from tuning.cli import main

GRID = [{"kind": "grid", "points": 2}]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which `first` and `second` were run."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        run_left(tmp_path / "runs", name=name, strategies=GRID, scores=(0.5,), finished=True)
    return tmp_path


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "SPEC: not given; `tunefleet run --help` shows what it takes"),
        (["run", "quickstart", "--frsh"], "--frsh: no such option; did you mean --fresh?"),
        (["ls", "--st", "x"], "--st: may be --storage or --store; type more of it; `tunefleet ls --help` shows"),
        (["ls", "stodies"], "WHAT: 'stodies' is not one of "),
        (["report", "first", "--serve", "soon"], "--serve: 'soon' is not a valid integer; `tunefleet report --help`"),
        (["compare", "first", "--target", "high"], "--target: 'high' is not a valid float; `tunefleet compare --help`"),
        (["compare", "first", "--format", "xml"], "--format: 'xml' is not one of 'table', 'markdown', 'json', 'csv'; "),
        (["export", "first", "--to"], "option '--to' requires an argument; `tunefleet export --help` shows"),
        (["train-final", "first", "--seed", "-1"], "--seed: -1 is not in the range 0<=x<=4294967295; "),
        (
            ["train-final", "first", "--private", "--public"],
            "--public: 'given': excludes --private; give one of the two",
        ),
        (["cluster", "start"], "--head: 'not given': a node is a head or a worker; add --head, or --address HOST:PORT"),
        (["cluster", "start", "--head", "--address", "h:1"], "--address: 'h:1': excludes --head; give one of the two"),
        (["cluster", "start", "--head", "--num-gpus=4"], "--num-gpus: no such option; known: --address, "),
        (["cluster", "strat"], "no command 'strat'; did you mean start?"),
        (["completion", "tcsh"], "SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish'; "),
        (["--debug", "ls"], "--debug: no such option; "),
    ],
    ids=str,
)
def test_a_mistake_on_the_command_line_is_named_with_the_next_step_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"tunefleet: {message}" in shown.err


@pytest.mark.unit
@pytest.mark.parametrize("words", [[], ["cluster"]], ids=str)
def test_a_command_without_its_subcommand_shows_its_help_on_standard_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\nCommands:\n" in shown.err


@pytest.mark.unit
@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["cluster", "start", "--help"], ["--version"]])
def test_help_and_version_go_to_standard_output_with_status_0(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out
    assert shown.err == ""


@pytest.mark.unit
def test_an_option_is_known_by_the_beginning_of_its_name(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "first", "--form=csv", "--stora", "runs"]) == 0
    assert "first-export/studies.csv" in capsys.readouterr().out


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "begins"),
    [(["--json", "--format", "csv"], "strategy,"), (["--format", "csv", "--json"], "{"), (["--json"], "{")],
    ids=str,
)
def test_the_last_of_two_formats_counts(
    runs: Path, words: list[str], begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "first", *words]) == 0
    assert capsys.readouterr().out.startswith(begins)


@pytest.mark.unit
def test_words_after_two_dashes_are_no_options(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "--json", "--", "first"]) == 0
    capsys.readouterr()
    assert main(["results", "--", "--json"]) == 2
    assert "'--json': no experiment of that name" in capsys.readouterr().err


def completions(folder: Path, *words: str) -> list[str]:
    """Returns what a shell offers for the last of `words`."""
    typed = {"COMP_WORDS": " ".join(["tunefleet", *words[:-1]]), "COMP_CWORD": words[-1]}
    environment = os.environ | typed | {"_TUNEFLEET_COMPLETE": "fish_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli"], env=environment, cwd=folder, capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.system
def test_a_shell_completes_commands_options_presets_and_experiments(runs: Path) -> None:
    assert "plain,resume" in "".join(completions(runs, "res"))
    assert completions(runs, "ls", "stu")[0].startswith("plain,studies")
    assert any(line.startswith("plain,--storage") for line in completions(runs, "ls", "--st"))
    assert any(line.startswith("plain,quickstart") for line in completions(runs, "run", "quick"))
    assert any(line.startswith("plain,second") for line in completions(runs, "compare", "sec"))


@pytest.mark.system
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_requests_completions_of_tunefleet(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    assert f"_TUNEFLEET_COMPLETE={shell}_complete" in capsys.readouterr().out
