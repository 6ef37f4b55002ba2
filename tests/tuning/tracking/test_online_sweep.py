"""A sweep of a server is served: each run once, by as many agents as slots, its stops obeyed; and what can go wrong."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import serving
from tests.support.wandb_server import PATH, SweepsServer
from trainables.errors import InputError
from tuning.space import Space
from tuning.spec.file import read_source
from tuning.spec.formats.wandb_sweep import online_configuration
from tuning.strategies.searchers.agent_searcher import AgentSearcher
from tuning.tracking import online_sweep
from tuning.tracking.online_sweep import OnlineSweep, flat_values
from tuning.tracking.sweep_server import SweepGone, SweepPath, SweepServer
from tuning.tracking.tracking import Secret, TrackingError

pytestmark = pytest.mark.unit

KEY = Secret("c0ffee00" * 5)
CONFIG: Mapping[str, Any] = {
    "method": "bayes",
    "metric": {"name": "eval/accuracy", "goal": "maximize"},
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "batch_size": {"values": [16, 32], "probabilities": [0.9, 0.1]},
    },
}
RATES = (1e-3, 2e-3, 3e-3)
PROPOSED = [{"lr": rate, "batch_size": 16} for rate in RATES]
SPACE = Space.model_validate(
    {"learning_rate": {"loguniform": [1e-5, 1e-2]}, "per_device_train_batch_size": {"choice": [16, 32]}}
)
NAMES = {"learning_rate": "lr", "per_device_train_batch_size": "batch_size"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_sweep, "BEAT_SECONDS", 0.02)


@contextmanager
def served(proposals: Any = PROPOSED, **options: Any) -> Iterator[tuple[SweepsServer, OnlineSweep]]:
    """Serves a sweep, and connects to it."""
    with serving(SweepsServer(CONFIG, proposals, **options)) as server:
        sweep = OnlineSweep(SweepPath.parse(PATH), "eval/accuracy", "accuracy")
        sweep._server = SweepServer(sweep.path, KEY, server.url)
        try:
            yield server, sweep
        finally:
            sweep.close()


def until(asked: Callable[[], Any]) -> Any:
    """Returns the first answer that is not empty."""
    for _ in range(2000):
        if answer := asked():
            return answer
        time.sleep(0.005)
    raise TimeoutError(asked)


def begun(searcher: AgentSearcher, trial: str) -> Any:
    """Returns what is proposed for a trial, once there is something."""
    return until(lambda: searcher.suggest(trial))


def test_each_run_is_handed_out_once_with_its_values_and_the_end_is_known() -> None:
    with served() as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        for number, rate in enumerate(RATES):
            params = begun(searcher, f"t{number}")
            assert params == {"learning_rate": rate, "per_device_train_batch_size": 16}
            searcher.on_trial_complete(f"t{number}")
        assert until(lambda: searcher.suggest("t3")) == "FINISHED"
        assert [run.id for run in sweep.runs.values()] == ["run-0", "run-1", "run-2"]
        assert len(server.agents) == 1  # one slot was used


def test_side_by_side_each_slot_has_an_agent_of_its_own() -> None:
    with served() as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        rates = {begun(searcher, f"t{n}")["learning_rate"] for n in range(3)}
        assert rates == set(RATES)
        assert len({server.runs[run.id].agent for run in sweep.runs.values()}) == 3
        until(lambda: all(run.beats > 1 for run in server.runs.values()))  # and is kept alive while it trains


def test_a_stop_of_the_server_concerns_its_run_alone() -> None:
    with served(stopped_after={"run-0": 2}) as (_, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        for number in range(2):
            begun(searcher, f"t{number}")
        until(lambda: sweep.stops("t0"))
        assert not sweep.stops("t1")


def test_an_exit_of_one_agent_ends_the_search_and_leaves_the_runs_of_others() -> None:
    with served(PROPOSED[:1]) as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        begun(searcher, "t0")
        assert begun(searcher, "t1") == "FINISHED"  # a second agent was told to exit
        assert not sweep.stops("t0")
        beats = server.runs["run-0"].beats
        until(lambda: server.runs["run-0"].beats > beats)


def test_a_sweep_that_is_cancelled_stops_what_runs() -> None:
    with served() as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        begun(searcher, "t0")
        server.cancelled = True
        until(lambda: sweep.stops("t0"))
        assert begun(searcher, "t1") == "FINISHED"


def test_runs_go_on_to_their_end_when_the_sweep_was_deleted() -> None:
    with served(ends=False) as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        until(lambda: searcher.suggest("t0"))
        server.missing = True
        assert until(lambda: searcher.suggest("t1")) == "FINISHED"
        assert not sweep.stops("t0")


def test_a_saved_search_goes_on_with_the_runs_that_it_had(tmp_path: Path) -> None:
    with served() as (server, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        for number in range(2):
            begun(searcher, f"t{number}")
        searcher.on_trial_complete("t0")
        sweep.close()
        searcher.save(str(tmp_path / "state"))  # with the run that its free agent may have been given
        again = OnlineSweep(sweep.path, sweep.metric, sweep.objective)
        again._server = SweepServer(sweep.path, KEY, server.url)
        resumed = AgentSearcher(SPACE, NAMES, again)
        resumed.restore(str(tmp_path / "state"))
        beats = server.runs["run-1"].beats
        params = until(lambda: resumed.suggest("t2"))
        again.close()
        assert params["learning_rate"] == RATES[2]
        assert again.runs["t1"] == ("run-1", PROPOSED[1])
        assert server.runs["run-1"].beats > beats  # a new agent serves it


def test_a_value_outside_the_space_is_refused_by_the_sweeps_own_name() -> None:
    with served([{"lr": 0.5, "batch_size": 16}]) as (_, sweep):
        searcher = AgentSearcher(SPACE, NAMES, sweep)
        with pytest.raises(InputError, match=r"parameters\.lr: 0\.5: the server proposes what the space does not hold"):
            until(lambda: searcher.suggest("t0"))


def test_a_server_that_cannot_be_asked_ends_the_search_with_its_address_and_without_the_key() -> None:
    sweep = OnlineSweep(SweepPath.parse(PATH), None, "accuracy")
    with pytest.raises(TrackingError, match=r"W&B is not online here. Set WANDB_API_KEY"):
        sweep.next_run()
    sweep._server = SweepServer(sweep.path, KEY, "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"me/proj/abc123: http://127.0.0.1:9/graphql cannot be asked") as caught:
        until(sweep.next_run)
    assert KEY.reveal() not in str(caught.value)
    sweep.close()


def test_a_sweep_that_is_unknown_is_named() -> None:
    with serving(SweepsServer(CONFIG, ())) as server:
        with pytest.raises(SweepGone, match="me/proj/other: not found on"):
            SweepServer(SweepPath("me", "proj", "other"), KEY, server.url).configuration()
        assert SweepServer(SweepPath.parse(PATH), KEY, server.url).configuration() == dict(CONFIG)


@pytest.mark.parametrize("text", ["", "abc123", "proj/abc123", "a/b/c/d", "//"])
def test_a_path_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be ENTITY/PROJECT/ID"):
        SweepPath.parse(text)


def test_the_end_of_a_pages_address_is_a_path() -> None:
    assert SweepPath.parse("me/proj/sweeps/abc123") == SweepPath.parse(PATH)


def test_neither_sweep_nor_key_can_be_pickled() -> None:
    for kept in (OnlineSweep(SweepPath.parse(PATH), None, "accuracy"), KEY):
        with pytest.raises(TypeError):
            pickle.dumps(kept)


def test_values_of_nested_parameters_have_dotted_names() -> None:
    args = {"lr": {"value": 0.1}, "optimizer": {"value": {"beta": {"one": 0.9}, "kind": "sgd"}}}
    assert flat_values(args) == {"lr": 0.1, "optimizer.beta.one": 0.9, "optimizer.kind": "sgd"}


def test_the_configuration_of_a_served_sweep_is_an_experiment_that_asks_the_server() -> None:
    raw = read_source(online_configuration(CONFIG, SweepPath.parse(PATH)), ["task=reviews", "epochs=2"]).raw
    assert json.loads(json.dumps(raw["strategies"])) == [
        {"kind": "wandb_agent", "sweep": PATH, "names": NAMES, "metric": "eval/accuracy"}
    ]
    assert raw["wandb"] == {"project": "proj", "entity": "me", "mode": "online"}
    assert raw["name"] == "sweep-abc123"
