"""A life of a trial on its own thread: how it ends, what it leaves, what an error and a hang look like from outside."""

from __future__ import annotations

import gc
import tempfile
import threading
import traceback
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from tests.support.user_trainers import rows, tiny_model, trainer
from trainables.errors import InputError
from trainables.progress import tracker
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.scratch import PREFIX
from trainables.user_trainer.trial_thread import TrialThread
from trainables.user_trainer.user_training import UserTraining

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(trainable="mine:make", epochs=2, seed=3, objective=Objective(metric="accuracy", mode="max"))


class Threads(TrainerCallback):  # type: ignore[misc]
    """Notes on which threads it is called, and that a block around the training was left."""

    def __init__(self) -> None:
        self.seen: set[int | None] = set()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.add(threading.current_thread().ident)

    on_prediction_step = on_init_end = on_step_end


def test_one_thread_builds_trains_and_scores() -> None:
    threads = Threads()
    training = UserTraining(lambda params: trainer(params, callbacks=[threads]), {}, SPEC)
    training.advance(0.5)
    training.score("validation")
    assert len(threads.seen) == 1
    assert threads.seen != {threading.current_thread().ident}


def test_the_thread_is_unwound_and_memory_freed_before_the_next_trial_is_built() -> None:
    left: list[str] = []

    class Guarded(Trainer):  # type: ignore[misc]
        def train(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().train(*args, **kwargs)
            except Exception as error:
                left.append(repr(error))
                raise
            finally:
                left.append("left")

    before = {*threading.enumerate()}
    training = UserTraining(lambda params: trainer(params, Guarded), {}, SPEC)
    training.advance(0.5)
    model, loader = weakref.ref(training.trainer.model), weakref.ref(training.trainer.train_dataset)
    scratch = Path(training.trainer.args.output_dir)
    (own,) = {*threading.enumerate()} - before
    gc.disable()
    try:
        del training
        assert (left, model(), loader()) == (["left"], None, None)
    finally:
        gc.enable()
    assert not scratch.exists()
    assert not own.is_alive()


def test_the_trainer_is_its_own_again_when_the_trial_has_ended() -> None:
    training = UserTraining(trainer, {}, SPEC)
    training.advance(1)
    kept = training.trainer
    metrics = training.advance(1).metrics
    del training
    assert type(kept) is Trainer
    assert kept.evaluate()["eval_accuracy"] == metrics["accuracy"]


def test_an_attribute_training_of_the_users_class_is_the_users() -> None:
    class Own(Trainer):  # type: ignore[misc]
        training = "of the class"

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            seen.add(self.training)
            return super().compute_loss(*args, **kwargs)

    seen: set[Any] = set()

    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params, kind=Own)
        made.training = "of this object"
        return made

    training = UserTraining(make, {}, SPEC)
    training.advance(1)
    kept = training.trainer
    del training
    assert (seen, kept.training) == ({"of this object"}, "of this object")


@pytest.mark.parametrize("where", ["factory", "step", "metrics"])
def test_an_error_in_the_users_code_comes_back_as_itself_with_its_lines(where: str) -> None:
    class Lost(Exception):
        pass

    def fails(now: str) -> None:
        if now == where:
            raise Lost("no column x")

    class Failing(Trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            fails("step")
            return super().training_step(*args, **kwargs)

    def metrics(scored: Any) -> dict[str, float]:
        fails("metrics")
        return {}

    def make(params: Mapping[str, Any]) -> Trainer:
        fails("factory")
        return trainer(params, Failing, compute_metrics=metrics)

    with pytest.raises(Lost, match="no column x") as raised:
        UserTraining(make, {}, SPEC).advance(1)
    lines = "".join(traceback.format_exception(raised.value))
    assert 'raise Lost("no column x")' in lines
    assert __file__ in lines


def test_each_step_and_each_batch_of_an_evaluation_is_a_sign_of_life() -> None:
    training = UserTraining(lambda params: trainer(params, args={"per_device_eval_batch_size": 8}), {}, SPEC)
    tracker.begin()
    training.advance(1)
    assert (tracker.steps, tracker.begun) == (4 + 4, True)


def test_a_model_is_made_once_in_each_life(tmp_path: Path) -> None:
    made: list[int] = []

    def model() -> Any:
        made.append(1)
        return tiny_model()

    first, second = (UserTraining(lambda params: trainer(params, model_init=model), {}, SPEC) for _ in range(2))
    first.advance(1)
    first.save(tmp_path)
    second.restore(tmp_path)
    second.advance(1)
    assert len(made) == 2


@pytest.mark.parametrize("held", [True, False], ids=["a list of the Trainer's", "a closure"])
def test_weights_that_no_checkpoint_would_hold_are_refused(held: bool) -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        model, bias = tiny_model(), torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.AdamW([*model.parameters(), bias])

        def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(outputs.logits + bias, labels)

        made = trainer(params, model=model, compute_loss_func=loss, optimizers=(optimizer, None))
        made.biases = [bias] if held else []
        return made

    training = UserTraining(make, {}, SPEC)
    if held:
        assert training.advance(1).epoch == 1
        return
    with pytest.raises(InputError, match="no checkpoint would hold them"):
        training.advance(1)


def test_weights_beside_the_model_that_are_not_trained_cost_no_checkpoint(tmp_path: Path) -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params)
        made.teacher = tiny_model()
        return made

    training = UserTraining(make, {}, SPEC)
    training.advance(1)
    training.save(tmp_path)
    assert [file.name for file in tmp_path.glob("*.safetensors")] == ["weights.safetensors"]


@pytest.mark.parametrize("how", ["model", "model_init", "trainer"])
def test_a_model_that_an_earlier_trial_has_trained_is_no_new_one(how: str) -> None:
    same = tiny_model()
    kept = trainer({}, model=same)

    def make(params: Mapping[str, Any]) -> Trainer:
        if how == "trainer":
            return kept
        return trainer(params, **({"model": same} if how == "model" else {"model_init": lambda: same}))

    UserTraining(make, {}, SPEC)  # it was not trained
    training = UserTraining(make, {}, SPEC)
    training.advance(1)
    del training
    told = "has taken 4 steps" if how == "trainer" else "a model that is as an earlier trial has left it"
    with pytest.raises(InputError, match=told):
        UserTraining(make, {}, SPEC)
    with torch.no_grad():
        for weight in same.parameters():
            weight.normal_()  # as from the beginning
    kept.state.global_step = 0
    assert UserTraining(make, {}, SPEC).advance(1).epoch == 1


def test_a_callback_that_counts_on_from_an_earlier_trial_is_told() -> None:
    patient = EarlyStoppingCallback(2)
    watched = {"metric_for_best_model": "same"}

    def make(params: Mapping[str, Any]) -> Trainer:
        same = {"same": 0.5, "accuracy": 0.5}
        return trainer(params, args=watched, callbacks=[patient], compute_metrics=lambda scored: same)

    training = UserTraining(make, {}, SPEC)
    training.advance(1)
    training.advance(1)
    assert patient.early_stopping_patience_counter == 1
    del training
    with pytest.raises(InputError, match="returned a callback that is as an earlier trial has left it") as refused:
        UserTraining(make, {}, SPEC)
    assert refused.value.value == "EarlyStoppingCallback"


def test_a_kind_of_numbers_that_a_factory_sets_is_no_other_trials() -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        if params.get("weight_decay"):
            torch.set_default_dtype(torch.bfloat16)
        return trainer(params)

    def trained(params: dict[str, Any]) -> tuple[Any, torch.dtype]:
        training = UserTraining(make, params, SPEC)
        return training.advance(1).metrics, training.trainer.model.dtype

    alone, other, after = trained({}), trained({"weight_decay": 0.1}), trained({})
    assert other[1] == torch.bfloat16
    assert after == alone


def test_a_base_that_is_frozen_may_be_shared() -> None:
    base = tiny_model().bert.requires_grad_(False)

    def make(params: Mapping[str, Any]) -> Trainer:
        model = tiny_model()
        model.bert = base
        return trainer(params, model=model)

    first, second = (UserTraining(make, {}, SPEC).advance(1) for _ in range(2))
    assert first == second


def test_a_training_that_ends_without_a_last_step_is_scored_as_it_ends() -> None:
    class Shorter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_epoch_stop = state.global_step % 3 == 0

    training = UserTraining(lambda params: trainer(params, callbacks=[Shorter()]), {}, SPEC)  # 6 steps, not 8
    first, last = training.advance(1), training.advance(1)
    assert (last.epoch, training.horizon, len(training.trainer.seen.steps)) == (1.5, 1.5, 6)
    assert last.metrics == training.score("validation").metrics != first.metrics


def test_a_callback_may_ask_for_a_checkpoint_of_the_trainers_own(tmp_path: Path) -> None:
    class Saving(TrainerCallback):  # type: ignore[misc]
        saved = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save = True

        def on_save(self, *args: Any, **kwargs: Any) -> None:
            self.saved += 1

    def made() -> tuple[Saving, UserTraining]:
        saving = Saving()
        return saving, UserTraining(lambda params: trainer(params, callbacks=[saving]), {}, SPEC)

    _, donor = made()
    donor.advance(1)
    donor.save(tmp_path)
    saving, training = made()
    training.restore(tmp_path)
    training.advance(1)
    assert saving.saved == 4


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("evaluate", "Own.evaluate': returned None and no metrics"),
        ("train", "Own.train': returned without having come to the training loop"),
    ],
)
def test_an_override_that_leaves_out_what_is_paused_is_told(method: str, told: str) -> None:
    own = type("Own", (Trainer,), {method: lambda self, *args, **kwargs: None})
    with pytest.raises(InputError, match=told):
        UserTraining(lambda params: trainer(params, own), {}, SPEC).advance(1)


def test_a_score_changes_nothing_of_what_follows() -> None:
    class Patient(TrainerCallback):  # type: ignore[misc]
        evaluations = 0

        def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
            self.evaluations += 1

    def run(scores: int) -> tuple[Any, ...]:
        patient = Patient()
        training = UserTraining(lambda params: trainer(params, callbacks=[patient]), {}, SPEC)
        told = []
        for _ in range(4):
            for _ in range(scores):
                training.score("validation")
            told.append(training.advance(0.5))
        state = training.trainer.state
        logged = [line["epoch"] for line in state.log_history]
        return told, patient.evaluations, logged, torch.get_rng_state().tolist()

    assert run(0) == run(2)


def test_the_test_split_is_the_trainers_test_dataset() -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params)
        made.test_dataset = rows(24, 2)
        return made

    scores = UserTraining(make, {}, SPEC).score("test")
    assert (set(scores.metrics), scores.rows) == ({"accuracy", "loss"}, 24)
    assert UserTraining(trainer, {}, SPEC).score("test").metrics == {}


def test_reports_closer_than_a_step_are_of_the_same_weights() -> None:
    training = UserTraining(trainer, {}, SPEC)
    told = [training.advance(0.125) for _ in range(4)]
    assert [evaluation.epoch for evaluation in told] == [0.125, 0.25, 0.375, 0.5]
    assert len(training.trainer.seen.steps) == 2
    assert told[0].metrics == told[1].metrics


def test_a_call_may_pause_and_others_are_served_meanwhile() -> None:
    thread, told = TrialThread("mine"), []

    def work() -> str:
        for number in range(2):
            thread.pause(number)
            told.append(number)
        return "through"

    assert thread.call(work) == 0
    assert thread.call(lambda: "between") == "between"
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 / 0)
    assert (thread.go_on(), thread.go_on(), told) == (1, "through", [0, 1])
    with pytest.raises(RuntimeError, match="no call is paused"):
        thread.go_on()
    thread.end()


def test_scratch_folders_go_with_the_trial_and_those_of_killed_processes_with_the_next_one() -> None:
    def folders() -> set[Path]:
        return {*Path(tempfile.gettempdir()).glob(f"{PREFIX}*")}

    killed = Path(tempfile.mkdtemp(prefix=PREFIX))  # nobody holds it
    (killed / "written.txt").touch()
    training = UserTraining(trainer, {}, SPEC)
    mine, others = Path(training.trainer.args.output_dir), UserTraining(trainer, {}, SPEC)
    assert mine in folders()
    assert killed not in folders()
    del training
    assert mine not in folders()
    assert others.advance(1).epoch == 1
