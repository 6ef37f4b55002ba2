"""A user's Trainer, made once before the first trial starts: where trials run, and with what a trial holds.

A factory that raises, and a Trainer that no trial can be made of or whose values a population could not change, are an
error here, once, and not one of every trial.
What goes by a trial's values is none: trials tell it where the draws of the space, as many as `alike_failures` says, do
not fail alike; with `alike_failures: null` they do in any case.
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
from trainables.lookup import build_training, trainable_kind
from trainables.spec import FineTuneSpec, Params, display_name
from trainables.worker.team import workers_for
from tuning.spec.models import ExperimentSpec
from tuning.supervision.failures import TrialFailure, without_details

if TYPE_CHECKING:
    from cluster.session import Session
    from trainables.user_trainer.user_training import UserTraining

SILENT_SECONDS = 3.0  # after which it is said that something is waited for


def require_trainer(spec: ExperimentSpec, session: Session, say: Callable[[str], None]) -> None:
    """Have a node make the Trainer that a first trial would have; nothing for other trainables.

    Args:
        say: told when this takes a while.

    Raises:
        InputError: it cannot be made, with values of any draw; or not go on with the values that a strategy changes.
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
    call = ray.remote(max_calls=1, max_retries=0, **held)(look)  # its process ends, and with it what it has loaded
    asked = call.remote(spec.trial_spec(spec.seeds[0], strategy.name), draws, changed)
    done, _ = ray.wait([asked], timeout=SILENT_SECONDS)
    if not done:
        say(f"making the Trainer of {display_name(spec.trainable)} once, before the first trial")
    try:
        ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError:
        return  # the process or its node has died: of a trial it would be looked into, and tried again


def look(spec: FineTuneSpec, draws: Sequence[Params], changed: Sequence[str]) -> None:
    """Called on a node: makes the Trainer of the first draw with which it can be made.

    Args:
        changed: names whose values change in the middle of a trial.

    Raises:
        InputError: all draws fail alike, not for want of memory; or one of these values cannot change.
    """
    import torch

    from trainables.user_trainer.rules import refusals

    errors: list[Exception] = []
    for params in draws:
        try:
            training = cast("UserTraining", build_training(params, spec))
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
    """The last line of the user's own code on the way to an error; of a library's, if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(trainables.__file__).parent)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith(ours)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
