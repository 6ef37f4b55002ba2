"""Tests `compare` and `report` with `--across`, for experiments in their run folders and any order of words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tunefleet
from tests.support.outcomes import make_report, scored
from tests.support.specs import GOOD
from tests.support.stores import SPACE, open_study
from tuning.cli import main
from tuning.outcome import TrialState
from tuning.spec.loading import load_spec
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.unit

NAMES = ("first", "second", "third")
BASELINES = {"over-grid": "grid", "grid-too": "grid", "over-pbt": "pbt"}  # the baseline that the spec names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes finished run folders with two strategies and two seeds each; the first has one more strategy."""
    place = tmp_path_factory.mktemp("across")
    for index, (name, baseline) in enumerate((*dict.fromkeys(NAMES).items(), *BASELINES.items())):
        spec = load_spec(GOOD, [f"name={name}", f"cluster.storage={place / 'runs'}", f"baseline={baseline or 'null'}"])
        spec.run_folder.mkdir(parents=True)
        (spec.run_folder / "spec.yaml").write_text(spec.to_yaml())
        store = StudyStore(f"sqlite:///{spec.run_folder / 'study.db'}")
        strategies = {"grid": 0.7, "pbt": 0.8, **({"random": 0.6} if index == 0 else {})}
        for strategy, score in strategies.items():
            for seed in (0, 1):
                writer = open_study(
                    store, experiment=name, digest=spec.digest(), strategy=strategy, kind=strategy, seed=seed,
                    attributes={}, spec_yaml=spec.to_yaml(),
                )  # fmt: skip
                writer.begin_trial("a", {"learning_rate": 0.1, "optim": "sgd"}, SPACE.to_optuna())
                writer.add_report("a", make_report(1, score))
                writer.end_trial("a", TrialState.COMPLETED)
                writer.set_test(scored("a", 1.0, score + index / 100 + seed / 1000))
                writer.finish()
        store.close()
    return place


@pytest.fixture(autouse=True)
def _there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(folder / "runs")


@pytest.mark.parametrize(
    "words", [[*NAMES, "--across"], ["--across", *NAMES], ["first", "--across", "second", "third"]], ids=str
)
def test_experiments_are_compared_as_tasks_in_any_order_of_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 0
    output = capsys.readouterr().out
    assert output.startswith("2 strategies over 3 tasks\n")
    assert " ".join(output.split()).count("3 tasks: no test of two strategies over tasks can show a difference") == 1
    assert "random (not in second and third)" in " ".join(output.split())


def test_the_same_from_python() -> None:
    first, *others = NAMES
    across = tunefleet.compare_across([tunefleet.load_outcome(first), *others])
    assert str(across).startswith("2 strategies over 3 tasks\n")
    assert repr(across).startswith("<Across first, second, third: Over 3 tasks pbt has the best mean rank")
    with pytest.raises(tunefleet.InputError, match=r"experiments: 'first': is one, not a list"):
        tunefleet.compare_across("first")


def test_the_baseline_of_the_specs_comes_first_in_the_command_and_in_python(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", "over-grid", "grid-too", "--across"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "No gain over the baseline grid is shown: pbt, the nearest to one, is ahead by 0.100 accuracy" in words
    assert tunefleet.compare_across(["over-grid", "grid-too"]).baseline == "grid"
    assert tunefleet.compare_across([tunefleet.load_outcome("over-grid"), "grid-too"]).baseline is None
    assert main(["compare", "over-grid", "over-pbt", "--across"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "The experiments have no baseline in common (over-grid grid, over-pbt pbt)" in words
    assert "baseline grid" not in words


def test_json_markdown_and_csv_hold_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *NAMES, "--across", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [row["strategy"] for row in plain["rows"]] == ["pbt", "grid"]
    assert [task["experiment"] for task in plain["tasks"]] == list(NAMES)
    assert plain["pairs"][0]["wins"] == 3
    assert main(["compare", *NAMES, "--across", "--format", "markdown"]) == 0
    assert "| pbt - grid | 3 : 0 | 100 % | 0.100 | 0.250 |" in capsys.readouterr().out
    assert main(["compare", *NAMES, "--across", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 * 2


def test_the_page_of_several_experiments_is_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *NAMES, "--across"]) == 0
    assert capsys.readouterr().out.startswith("across.html is written")
    text = Path("across.html").read_text()
    assert "<title>first, second, third · tunefleet</title>" in text
    assert text.count("<figure") == 4
    assert main(["report", *NAMES, "--across", "--out", "own.html"]) == 0
    assert Path("own.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", *NAMES], "EXPERIMENT: 'first second third': are several; add --across to compare over them"),
        (["report", "first", "second"], "EXPERIMENT: 'first second': are several; add --across"),
        (["compare", "first", "--across"], "experiments: 'first': a comparison over tasks needs two experiments"),
        (["compare", "first", "first", "--across"], "experiments: 'first': is given twice"),
        (["compare", *NAMES, "--across", "--target", "0.5"], "--target: 0.5: is about one experiment"),
        (["compare", *NAMES, "--across", "--price", "2"], "--price: 2.0: is about one experiment"),
        (["report", *NAMES, "--across", "--target", "0"], "--target: 0.0: is about one experiment"),
        (["compare", "first", "secnd", "--across"], "did you mean second?"),
    ],
)
def test_what_cannot_be_compared_is_reported_with_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_option_or_a_word_too_many_is_still_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *NAMES, "--accross", "x"]) == 2
    assert "tunefleet: --accross: no such option; did you mean --across?" in capsys.readouterr().err
    assert main(["results", "first", "second"]) == 2
    assert "got unexpected extra argument (second); `tunefleet results --help` shows" in capsys.readouterr().err
