"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.outcomes import make_report, population, study, trial
from tests.support.specs import GOOD
from tests.support.stores import open_study
from tuning.budget import ResourceUsage
from tuning.cli import main
from tuning.cli.run import print_failures
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.run_folder.files import spec_with_checksum
from tuning.space import Space
from tuning.spec.file import presets
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore, sqlite_url
from tuning.strategies import find_strategies

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)


@pytest.fixture
def recorded(tmp_path: Path) -> ExperimentSpec:
    """A run folder as a finished run leaves it: two studies of the experiment `mine`."""
    spec = load_spec(GOOD)
    spec.run_folder.mkdir(parents=True)
    (spec.run_folder / "spec.yaml").write_text(spec_with_checksum(spec.to_yaml()))
    _record(StudyStore(spec.store_url), spec)
    return spec


def _record(store: StudyStore, spec: ExperimentSpec) -> None:
    rates = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1.0]}}).to_optuna()
    for strategy, best in (("grid", 0.75), ("pbt", 0.875)):
        writer = open_study(
            store, experiment=spec.name, digest=spec.digest(), strategy=strategy, kind=strategy, seed=0, slots=1,
            devices_per_trial=1.0, device="CPU core", attributes={}, spec_yaml=spec.to_yaml(),
        )  # fmt: skip
        writer.begin_trial("a", {"learning_rate": 0.1}, rates)
        writer.add_report("a", make_report(1, best))
        writer.end_trial("a", TrialState.COMPLETED)
        writer.record_usage(ResourceUsage(10.0, 10.0, 10.0))
        writer.finish()
    store.close()


def test_ls_names_every_strategy_task_and_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    shown = capsys.readouterr().out
    for name in (*find_strategies(), *presets(), "reviews", "rte", "imdb", "text_classification"):
        assert f"\n  {name} " in shown
    assert main(["ls", "presets"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("csv  ")


def test_validate_says_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "quickstart", "seeds=[0, 1]", "name=two"]) == 0
    shown = capsys.readouterr()
    assert "two: valid" in shown.out
    assert "8 studies" in shown.out
    assert list(Path.cwd().iterdir()) == []


def test_mistakes_go_to_standard_error_with_status_2_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "quickstart", "task=revews", "epochs=0"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 mistakes in quickstart:" in shown.err
    assert "  task: 'revews': is no known task; did you mean reviews?" in shown.err
    assert "Traceback" not in shown.err


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(ValueError, match="did you mean quickstart"):
        main(["validate", "--debug", "quikstart"])


def test_options_and_overrides_stand_in_any_order() -> None:
    assert main(["validate", "quickstart", "--debug", "name=later", "epochs=3"]) == 0
    assert main(["validate", "name=later", "quickstart"]) == 2  # the first word is the spec
    assert main(["ls", "--store", "x", "epochs=3"]) == 2


def test_init_writes_a_spec_that_validates_and_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "own.yaml"]) == 0
    assert main(["validate", "own.yaml"]) == 0
    written = Path("own.yaml").read_text()
    assert written.startswith("name: my-experiment")
    Path("own.yaml").write_text("mine")
    assert main(["init", "own.yaml"]) == 2
    assert Path("own.yaml").read_text() == "mine"
    assert "exists already; choose another name" in capsys.readouterr().err
    assert main(["init", "no/such/folder.yaml"]) == 2


@pytest.mark.parametrize("by", ["name", "folder", "store", "spec file", "spec file of the folder"])
def test_results_are_found_by_name_by_folder_by_store_and_by_spec_file(
    recorded: ExperimentSpec,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {
        "name": ["mine"],
        "folder": [str(recorded.run_folder)],
        "store": ["mine", "--store", recorded.store_url],
        "spec file": [str(tmp_path / "own.yaml")],
        "spec file of the folder": [str(recorded.run_folder / "spec.yaml")],
    }[by]
    storage = recorded.run_folder.parent
    (tmp_path / "own.yaml").write_text(f"name: mine\ncluster: {{storage: {storage}}}\n")
    if by != "name":
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
    assert main(["results", *arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "mine"
    assert [s["strategy"] for s in shown["studies"]] == ["grid", "pbt"]


def test_a_run_folder_that_was_moved_keeps_its_results(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("archive").mkdir()
    recorded.run_folder.rename("archive/mine")
    assert main(["results", "mine", "--storage", "archive"]) == 0
    assert "grid, seed 0: finished" in capsys.readouterr().out


def test_compare_prints_a_table_markdown_and_json(recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "mine"]) == 0
    assert "learning_rate: 0.1" in capsys.readouterr().out
    assert main(["compare", "mine", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("## mine")
    assert main(["compare", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["experiment"] == "mine"


def test_compare_takes_a_target_and_a_price_and_writes_csv(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "mine", "--target", "0.8", "--price", "36"]) == 0
    shown = capsys.readouterr().out
    assert "device-s to reach 0.8" in shown
    assert "> 10" in shown  # the grid did not
    assert "0.10" in shown  # ten device-seconds at 36 per hour
    assert main(["compare", "mine", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("strategy,kind,seed,validation,")


def test_export_writes_tables_and_refuses_to_do_so_twice_without_force(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "mine", "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == [f"mine-export/{name}.csv" for name in ("studies", "trials", "reports")]
    assert main(["export", "mine", "--format", "csv"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["export", "mine", "--format", "csv", "--force"]) == 0
    assert main(["export", "mine", "--to", "elsewhere"]) == 0
    assert Path("elsewhere/trials.parquet").is_file()


def test_export_writes_optuna_studies_under_the_name_that_is_asked_for(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    import optuna

    to = ["export", "mine", "--optuna", "sqlite:///exported.db"]
    assert main([*to, "--study-name", "theirs", "--strategy", "grid"]) == 0
    assert capsys.readouterr().out.split() == ["theirs"]
    assert main(to) == 0
    assert capsys.readouterr().out.split() == ["mine-grid-seed0", "mine-pbt-seed0"]
    (trial,) = optuna.load_study(study_name="theirs", storage="sqlite:///exported.db").trials
    assert (trial.params, trial.value, trial.user_attrs) == ({"learning_rate": 0.1}, 0.75, {})
    assert main([*to, "--study-name", "theirs", "--seed", "0", "--strategy", "pbt"]) == 2
    assert "study-name: 'theirs': there is a study of that name" in capsys.readouterr().err
    assert main(["export", "mine", "--strategy", "pbt"]) == 2
    assert "--strategy: 'pbt': is read with --optuna URL alone" in capsys.readouterr().err


def test_ls_studies_shows_what_was_run(recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ["mine", "pbt", "0", "finished", "1", "accuracy", "0.8750"]
    for arguments in ([], ["--store", recorded.store_url]):
        assert main(["ls", "studies", *arguments]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split() == expected


def test_ls_studies_passes_over_a_run_that_has_recorded_nothing(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    other = load_spec(GOOD, ["name=other"])
    other.run_folder.mkdir()
    (other.run_folder / "spec.yaml").write_text(other.to_yaml())
    assert main(["ls", "studies"]) == 0
    shown = capsys.readouterr()
    assert "mine" in shown.out
    assert "other" in shown.err


@pytest.mark.parametrize("command", ["results", "compare", "export", "resume"])
def test_an_unknown_experiment_is_reported_with_the_nearest_one(
    recorded: ExperimentSpec, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "mime"]) == 2
    assert "did you mean mine?" in capsys.readouterr().err


def test_a_spec_file_that_was_not_run_is_reported_by_its_name_and_where_was_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("good.yaml").write_text("name: mine\n")
    assert main(["results", "good.yaml"]) == 2
    shown = capsys.readouterr().err
    assert f"'mine': no experiment of that name in {tmp_path / 'runs'}; `tunefleet run good.yaml` runs it" in shown
    Path("other.yaml").write_text("task: reviews\n")
    assert main(["results", "other.yaml"]) == 2
    assert "'other.yaml': is a file without the name of an experiment; give the name" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_an_error_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "mine", "--store", sqlite_url("nothing.db")]) == 1
    shown = capsys.readouterr().err
    assert "nothing.db" in shown
    assert "Traceback" not in shown
    assert not Path("nothing.db").exists()


def test_run_onto_an_existing_run_folder_is_refused(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(recorded.to_yaml())
    assert main(["run", "mine.yaml"]) == 2
    shown = capsys.readouterr().err
    assert "tunefleet resume mine" in shown
    assert "choose another name" in shown


def test_resume_of_another_spec_is_refused_with_what_differs(
    recorded: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", "mine", "epochs=2"]) == 2
    assert "different: epochs" in capsys.readouterr().err


def test_a_run_has_failed_when_every_trial_of_a_study_has(capsys: pytest.CaptureFixture[str]) -> None:
    fine = study("pbt", [*population(), trial(2, [], TrialState.FAILED, error="CUDA out of memory")])
    lost = study("grid", [trial(0, [], TrialState.FAILED, error="CUDA out of memory")])
    assert print_failures(ExperimentOutcome("mine", "d", (fine,)))
    assert capsys.readouterr().err == ""
    assert not print_failures(ExperimentOutcome("mine", "d", (fine, lost)))
    assert "grid, seed 0: every trial failed; the first: CUDA out of memory" in capsys.readouterr().err


def test_a_failure_that_all_studies_have_is_reported_once_with_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    def lost(strategy: str, *errors: str) -> StudyOutcome:
        return study(strategy, [trial(n, [], TrialState.FAILED, error=error) for n, error in enumerate(errors)])

    same = [f"TaskError: data.text: row {n} is empty (traceback: /runs/{n}/error.txt)" for n in range(4)]
    studies = (lost("grid", *same[:2]), lost("random", same[2]), lost("pbt", "KeyError: 'x'"), lost("asha", same[3]))
    assert not print_failures(ExperimentOutcome("mine", "d", studies))
    assert capsys.readouterr().err.splitlines() == [
        "tunefleet: grid, seed 0; random, seed 0; asha, seed 0: every trial failed, 4 times with the same error; "
        f"the first: {same[0]}",
        "tunefleet: pbt, seed 0: every trial failed; the first: KeyError: 'x'",
    ]


def test_a_run_that_its_cluster_refuses_leaves_nothing_in_the_way_of_the_next_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests may use one in this process
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert main(["run", "quickstart", "trainable=learning_curve", f"cluster.address={address}"]) == 1
    assert f"no Ray head answers at {address}" in capsys.readouterr().err
    assert not Path("runs/quickstart").exists()


def test_ls_studies_says_where_it_found_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "studies", "--storage", "elsewhere"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no experiment in elsewhere" in shown.err


def test_overrides_are_not_called_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Usage: tunefleet run [OPTIONS] SPEC [key=value]...",
        "tunefleet: SPEC: not given; `tunefleet run --help` shows what it takes",
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "validate     Check a spec and name every mistake"),
        (["validat"], "no command 'validat'; did you mean validate?"),
        (["frobnicate"], "no command 'frobnicate'; known: cluster, compare, "),
        (["sweep"], "no command 'sweep'; did you mean sweep-agent?"),
        (["cluster", "strat"], "no command 'strat'; did you mean start?"),
    ],
)
def test_a_command_that_is_missing_or_misspelt_is_reported_with_those_that_are_there(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert shown in capsys.readouterr().err
