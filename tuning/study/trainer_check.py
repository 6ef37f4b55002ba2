"""Makes a user's Trainer once before the first trial starts: on a node, with the resources that a trial holds.

In: the spec. Out: nothing, or the error that every trial would end in: the factory raises, no trial can be made of its
Trainer, or a population could not change its values. An error that depends on a trial's values is none here: the
factory is called with as many draws of the space as `alike_failures` says, and fails if all of them fail alike. With
`alike_failures: null` nothing is checked.
"""

from __future__ import annotations

import gc
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import trainables
from trainables.errors import InputError
from trainables.lookup import build_unmeasured, trainable_kind
from trainables.machine.devices import use_assigned_devices
from trainables.spec import FineTuneSpec, Params, display_name
from trainables.worker.team import workers_for
from tuning.spec.models import ExperimentSpec
from tuning.supervision.failures import TrialFailure, without_details

if TYPE_CHECKING:
    from cluster.session import Session
    from trainables.user_trainer.user_training import UserTraining

SILENT_SECONDS = 3.0  # after which a line says what the run waits for


def require_trainer(spec: ExperimentSpec, session: Session, say: Callable[[str], None]) -> None:
    """Have a node make the Trainer that a first trial would have; does nothing for other trainables.

    Args:
        say: called with a line when this takes a while.

    Raises:
        InputError: it cannot be made with the values of any draw, or cannot go on with values that a strategy changes.
    """
    if spec.alike_failures is None or trainable_kind(spec.trainable) != "factory":
        return
    if workers_for(spec.trainable, session.resources.gpus) > 1:
        return  # several processes make theirs together, as the first trial will
    import ray

    rng, strategy = random.Random(spec.seeds[0]), spec.strategies[0]
    space = spec.space_of(strategy)
    draws = [{**spec.fixed, **space.sample(rng)} for _ in range(spec.alike_failures)]
    changed = sorted({name for one in spec.strategies for name in one.changed_in_flight(spec.space_of(one))})
    held = {"num_cpus": session.resources.cpus, "num_gpus": session.resources.gpus}
    call = ray.remote(max_calls=1, max_retries=0, **held)(
        make_on_node
    )  # its process ends, and with it what it has loaded
    task = call.remote(spec.trial_spec(spec.seeds[0], strategy.name), draws, changed)
    done, _ = ray.wait([task], timeout=SILENT_SECONDS)
    if not done:
        say(f"making the Trainer of {display_name(spec.trainable)} once, before the first trial")
    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError:
        return  # the process or its node has died: a trial would be examined, and started again


def make_on_node(spec: FineTuneSpec, draws: Sequence[Params], changed: Sequence[str]) -> None:
    """Make the Trainer of the first draw with which it can be made; called on a node.

    Args:
        spec: of a trial.
        draws: values from the space.
        changed: names whose values change in the middle of a trial.

    Raises:
        InputError: all draws fail alike, not for want of memory; or one of these values cannot change.
    """
    use_assigned_devices()
    import torch

    from trainables.user_trainer.rules import refusals

    errors: list[Exception] = []
    for params in draws:
        try:
            training = cast("UserTraining", build_unmeasured(params, spec))
        except Exception as error:
            errors.append(error)
        else:
            for refused in refusals(training.trainer, changed):
                raise refused
            del training
            gc.collect()
            torch.cuda.empty_cache()  # a trial may have the device before this process has ended
            return
    raised = [TrialFailure.of(error) for error in errors]
    if len({without_details(one.line) for one in raised}) > 1 or any(_of_memory(one) for one in raised):
        return
    if isinstance(errors[0], InputError):
        raise errors[0]
    rule = f"raises {raised[0].line} ({_place(errors[0])})"
    raise InputError(
        "trainable", display_name(spec.trainable), rule, "mend it and start again: no trial has begun"
    ) from errors[0]


def _of_memory(raised: TrialFailure) -> bool:
    return raised.out_of_memory or "OutOfMemory" in raised.name


def _place(error: Exception) -> str:
    """Return the last line of the user's own code on the way to an error; without any, of a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(trainables.__file__).parent)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith(ours)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
