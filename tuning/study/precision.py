"""The precision of an experiment: decided once, for all of its trials, before the first one starts.

In: the spec, the nodes that hold trials, and what is recorded of earlier runs. Out: one precision, and a line that says
which and why. `precision: auto` is bf16 if every node computes it natively, else fp32. What has begun keeps the
precision that is recorded: scores of two would not compare. Each study records it, and its trials, confirmations,
evaluations and final models are given it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from cluster.capacity import ClusterError
from trainables.lookup import load_trainable, trainable_kind
from trainables.machine.native_bf16 import NativeBf16, native_bf16
from trainables.spec import FineTuneSpec
from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import PRECISION
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session

Precision: TypeAlias = Literal["fp32", "tf32", "bf16"]
RECORDED: tuple[Precision, ...] = ("bf16", "fp32")  # what `auto` has been
SHOWN = 3  # nodes that a line names
ANSWER_SECONDS = 120.0  # a process of a busy node starts and imports torch within this


class NodeBf16(NamedTuple):
    """The answer of one node."""

    node: str  # its name for people
    bf16: NativeBf16


class Decision(NamedTuple):
    """A precision and a line for people that says why."""

    precision: Precision
    line: str


def reads_precision(spec: ExperimentSpec) -> bool:
    """True if trials are the built-in fine-tuning, or a class of the user's that derives from it."""
    if spec.trainable == "finetune":
        return True
    derived = spec.own and trainable_kind(spec.trainable) == "training"
    return derived and getattr(load_trainable(spec.trainable), "reads_precision", False)


def recorded_precision(study: StudyOutcome) -> Precision | None:
    """Return the precision of a study of the built-in fine-tuning; older versions recorded it with the first report."""
    return next((one for one in RECORDED if study.attributes.get(PRECISION) == one), None)


def trained_spec(spec: ExperimentSpec, study: StudyOutcome) -> FineTuneSpec:
    """Return what the trials of `study` were given besides their values, with the precision that is recorded."""
    trial = spec.trial_spec(study.seed, study.strategy)
    if spec.precision != "auto" or (known := recorded_precision(study)) is None or not reads_precision(spec):
        return trial
    return trial.model_copy(update={"precision": known})


def decide_precision(
    spec: ExperimentSpec, session: Session, recorded: Iterable[StudyOutcome] = (), *, force: bool = False
) -> Decision | None:
    """Decide the precision of all trials; None if the trainable does not read it.

    Args:
        recorded: the studies of the experiment that have begun.
        force: go on where a node does not compute a recorded bf16 natively.

    Raises:
        RunFolderError: it does not (without `force`).
        ClusterError: a node does not answer.
    """
    if not reads_precision(spec):
        return None
    known: Precision | None = None
    if spec.precision == "auto":
        known = next(filter(None, map(recorded_precision, recorded)), None)
    asked = (known or spec.precision) in ("auto", "bf16")
    return decision(spec.precision, known, ask_nodes(session) if asked else (), force=force)


def decision(
    stated: Literal["auto"] | Precision,
    known: Precision | None,
    nodes: Sequence[NodeBf16],
    *,
    force: bool = False,
) -> Decision:
    """Decide from what the nodes have answered.

    Args:
        stated: in the spec.
        known: recorded of earlier runs; None: nothing.
        nodes: those that hold trials.

    Raises:
        RunFolderError: see `decide_precision`.
    """
    lacking = [one for one in nodes if not one.bf16.native]
    if stated == "auto" and known is None:
        if lacking:
            return Decision("fp32", f"computes in fp32, since bf16 would be emulated: {_listed(lacking)}")
        if not nodes:
            return Decision("fp32", "computes in fp32: no node that holds trials is there yet to be asked for bf16")
        return Decision("bf16", f"computes in bf16: {_listed(nodes)}")
    precision, origin = (known, "as recorded") if stated == "auto" and known else (stated, "as the spec says")
    assert precision != "auto"
    line = f"computes in {precision}, {origin}"
    if precision != "bf16" or not lacking:
        return Decision(precision, line)
    if known is not None and not force:
        raise RunFolderError(
            "precision: bf16, in which the experiment has begun, is not computed natively everywhere: "
            f"{_listed(lacking)}. One experiment has one precision. Go on where all nodes have bf16, take such nodes "
            "out of the cluster, or go on with --force, which emulates it there: slower than fp32"
        )
    return Decision(precision, f"WARNING {line}, which is emulated and slower than fp32 here: {_listed(lacking)}")


def ask_nodes(session: Session) -> list[NodeBf16]:
    """Ask each node that holds trials whether the devices of its trials compute bf16 natively.

    Raises:
        ClusterError: one does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    holding = [node for node in session.nodes if node.holds(session.resources)]
    # The process ends with the task: CUDA's driver has seen devices there that a trial may not hold.
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=1)(native_bf16)
    tasks = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            gpus=session.resources.gpus > 0
        )
        for node in holding
    ]
    names = ["this machine" if session.address is None else node.address for node in holding]
    answers = []
    for name, task in zip(names, tasks, strict=True):
        try:
            answers.append(NodeBf16(name, ray.get(task, timeout=ANSWER_SECONDS)))
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ClusterError(
                f"node {name} does not tell whether it computes bf16: {reason}. Look at it with `ray status`, or set "
                "precision: fp32, which asks no node"
            ) from error
    return answers


def _listed(nodes: Sequence[NodeBf16]) -> str:
    """Name the nodes with the same reason together, and a few of many."""
    by_reason: dict[str, list[str]] = {}
    for one in nodes:
        by_reason.setdefault(one.bf16.why, []).append(one.node)
    return "; ".join(f"{_few(names)}: {why}" for why, names in by_reason.items())


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
