"""One precision for all trials of an experiment: decided over its nodes, recorded, and kept by whatever comes later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.power_cuts import COSTS
from tests.support.specs import curve_experiment, places_fields
from trainables.machine.native_bf16 import NativeBf16
from tuning import load_spec, run_experiment
from tuning.errors import RunFolderError
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.selection.candidates import training_spec
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.study.precision import NodeBf16, decide_precision, decision, recorded_precision, trained_spec
from tuning.testing.simulated_ray import PowerCut, SimulatedNode, SimulatedRay, simulated_ray

HAS, LACKS = {"avx512_bf16": True, "amx_bf16": True}, {"avx512_bf16": False}
NATIVE, EMULATED = NativeBf16(True, "its CPU has AMX"), NativeBf16(False, "its CPU has neither")
Simulate = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Runs an experiment in virtual time on a node for each set of a CPU's capabilities that torch tells there."""

    def simulated(
        spec: ExperimentSpec, *nodes: Mapping[str, bool], until: int | None = None, **how: bool
    ) -> ExperimentOutcome | None:
        told = dict(zip("abc", nodes, strict=False))
        with simulated_ray(*(SimulatedNode(name, cpus=1) for name in told), costs=COSTS) as ray:
            capabilities = lambda: told[ray._current_node.name]  # noqa: E731
            monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities, raising=False)
            _end_after(ray, until)
            try:
                return run_experiment(spec, **how)
            except PowerCut:
                return None

    return simulated


def _end_after(ray: SimulatedRay, until: int | None) -> None:
    """Lets the driver die after so many evaluations."""

    def trained(_actor: Any, method: str, _value: Any) -> None:
        if method == "train" and sum(call[2] == "train" for call in ray.calls) == until:
            ray.end_driver()

    ray.after(trained)


@pytest.fixture
def spec(tmp_path: Path, tiny_data: Path, tiny_model: Path) -> Callable[..., ExperimentSpec]:
    def made(**changed: Any) -> ExperimentSpec:
        # One trial at a time: all processes are this one, and two trials would draw from one generator in turn.
        one = {"cluster": {"max_concurrent": 1}, "strategies": [{"kind": "random", "trials": 2}]}
        fields = {"precision": "auto", **one, **changed}
        return load_spec(places_fields(tmp_path / fields["precision"], tiny_data, tiny_model, **fields))

    return made


def numbers(outcome: ExperimentOutcome | None) -> list[Any]:
    """All scores, to the last bit."""
    assert outcome is not None
    return [
        (
            [[report.metrics for report in trial.reports] for trial in study.trials],
            [(one.validation, one.test) for one in study.confirmations],
            study.test and study.test.metrics,
        )
        for study in outcome.studies
    ]


@pytest.mark.tune
@pytest.mark.parametrize("after", [{"confirm": {"top": 1, "seeds": 2}}, {}], ids=["confirmed", "searched"])
def test_auto_is_bf16_where_all_nodes_compute_it_natively_in_searches_confirmations_and_tests(
    run: Simulate, spec: Any, capsys: pytest.CaptureFixture[str], after: dict[str, Any]
) -> None:
    found = run(spec(**after), HAS, HAS)
    out = capsys.readouterr().out
    assert out.count("computes in") == 1
    assert "places: computes in bf16: a, b: its CPU has AVX512-BF16 and AMX\n" in out
    assert [study.attributes["precision"] for study in found.studies] == ["bf16"]
    assert numbers(found) == numbers(run(spec(precision="bf16", **after), HAS, HAS))


@pytest.mark.tune
def test_auto_is_fp32_where_one_node_would_emulate_bf16_and_the_run_names_it(
    run: Simulate, spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(spec(), HAS, LACKS)
    said = "places: computes in fp32, since bf16 would be emulated: b: its CPU has neither AVX512-BF16, AMX nor Arm's"
    assert said in capsys.readouterr().out
    assert [study.attributes["precision"] for study in found.studies] == ["fp32"]
    assert numbers(found) == numbers(run(spec(precision="fp32"), HAS, HAS))


@pytest.mark.tune
def test_a_resume_keeps_bf16_and_is_refused_where_it_would_be_emulated(
    run: Simulate, spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = spec(seeds=[0, 1])
    assert run(mine, HAS, until=3) is None
    store = StudyStore(mine.store_url)
    before = store.load(mine.name)
    assert [study.attributes["precision"] for study in before.studies] == ["bf16"]
    with pytest.raises(RunFolderError, match=r"precision: bf16, in which the .* b: its CPU has neither .* --force"):
        run(mine, HAS, LACKS, resume=True)
    assert store.load(mine.name) == before  # nothing has been started
    capsys.readouterr()
    resumed = run(mine, HAS, LACKS, resume=True, force=True)
    assert "WARNING computes in bf16, as recorded, which is emulated and slower than fp32 here: b" in (
        capsys.readouterr().out
    )
    assert all(study.state is StudyState.FINISHED for study in resumed.studies)
    assert [study.attributes["precision"] for study in resumed.studies] == ["bf16", "bf16"]  # what begins now, too
    assert numbers(resumed) == numbers(run(spec(precision="bf16", seeds=[0, 1]), HAS))


@pytest.mark.tune
def test_a_resume_keeps_fp32_where_bf16_is_there_by_now(
    run: Simulate, spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = spec()
    assert run(mine, LACKS, until=3) is None
    resumed = run(mine, HAS, resume=True)
    assert "places: computes in fp32, as recorded\n" in capsys.readouterr().out
    assert numbers(resumed) == numbers(run(spec(precision="fp32"), HAS))


@pytest.mark.tune
def test_bf16_that_the_spec_asks_for_is_emulated_with_a_warning(
    run: Simulate, spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(spec(precision="bf16"), LACKS).studies[0].attributes["precision"] == "bf16"
    assert "WARNING computes in bf16, as the spec says, which is emulated" in capsys.readouterr().out


@pytest.mark.tune
def test_a_trainable_that_has_its_own_precision_asks_no_node_and_records_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = curve_experiment(tmp_path, strategies=[{"kind": "random", "trials": 1}])
    with simulated_ray():
        outcome = run_experiment(curve)
    assert "computes in" not in capsys.readouterr().out
    assert "precision" not in outcome.studies[0].attributes


@pytest.mark.unit
def test_what_is_trained_and_scored_after_a_search_has_the_recorded_precision_also_of_older_versions(spec: Any) -> None:
    """Older versions recorded the precision of the first trial that reported."""

    def study(**attributes: Any) -> StudyOutcome:
        return StudyOutcome("random", "random", 0, StudyState.FINISHED, "accuracy", "max", attributes=attributes)

    for precision in ("bf16", "fp32"):
        assert trained_spec(spec(), study(precision=precision)).precision == precision
        assert training_spec(spec(), study(precision=precision), 7).precision == precision
    assert trained_spec(spec(precision="tf32"), study(precision="fp32")).precision == "tf32"
    assert recorded_precision(study(precision="fp16")) is None  # a Trainer's of the user's own
    assert trained_spec(spec(), study()).precision == "auto"


@pytest.mark.unit
def test_the_line_tells_a_few_of_many_nodes_and_each_reason_once() -> None:
    many = [NodeBf16(f"10.0.0.{number}", EMULATED) for number in range(9)]
    other = NodeBf16("10.0.1.1", NativeBf16(False, "its Tesla T4 has compute capability 7.5, and bf16 takes 8.0"))
    chosen = decision("auto", None, [NodeBf16("10.0.2.1", NATIVE), *many, other])
    assert chosen.precision == "fp32"
    assert chosen.line == (
        "computes in fp32, since bf16 would be emulated: 10.0.0.0, 10.0.0.1, 10.0.0.2 and 6 more: its CPU has neither; "
        "10.0.1.1: its Tesla T4 has compute capability 7.5, and bf16 takes 8.0"
    )


@pytest.mark.unit
def test_nodes_that_are_still_to_come_are_not_taken_to_have_bf16() -> None:
    assert decision("auto", None, []).precision == "fp32"


@pytest.mark.ray
def test_a_node_of_a_real_ray_answers(ray_session: None, spec: Any) -> None:
    from cluster.session import connect

    mine = spec()
    with connect(mine.cluster, run_folder=mine.run_folder) as session:
        chosen = decide_precision(mine, session)
    assert chosen is not None
    assert chosen.precision in ("bf16", "fp32")
    assert "CPU" in chosen.line
