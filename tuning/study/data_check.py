"""Reads the data of an experiment on the nodes that will train, before the first trial starts there.

In: the spec. Out: a summary of the data and hashes of their rows. A task on each node that holds trials reads and
tokenises the rows, leaves them in that node's cache, and reads the model's weights once. The first trials find both, so
the study that comes first does not pay for them from its budget. Data that cannot be used are an error here, once, and
not one of every trial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.capacity import ClusterError
from trainables.data.row_hashes import Hashes, RowHashes
from trainables.errors import InputError
from trainables.spec import FineTuneSpec
from trainables.tasks.summary import DataSummary
from tuning.report.data_summary import smallest_max_length
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from cluster.session import Session

SILENT_SECONDS = 3.0  # after which a line says what the run waits for
READ_SECONDS = 3600.0  # a model and a data set may have to be downloaded


class CheckedData(NamedTuple):
    """The data as a node has read them."""

    summary: DataSummary
    rows: RowHashes
    fingerprints: tuple[str, ...]  # of rows and labels, in each cut into training and validation rows


def check_data(spec: ExperimentSpec, session: Session, say: Callable[[str], None]) -> CheckedData | None:
    """Return the summary, with the tokens of all splits, and the rows' hashes; None for a trainable with its own data.

    Args:
        say: called with a line when this takes a while.

    Raises:
        TaskError, ModelError: the rows, or the model's tokenizer, cannot be used.
        ClusterError: no node could read them.
    """
    if spec.trainable != "finetune":
        return None
    import ray

    remote, given = ray.remote(read_on_node), (split_specs(spec), smallest_max_length(spec), spec.test)
    tasks = [remote.options(num_cpus=0, max_retries=1, **options).remote(*given) for options in node_options(session)]
    done, _ = ray.wait(tasks, num_returns=len(tasks), timeout=SILENT_SECONDS)
    if len(done) < len(tasks):
        say("reading and tokenising the data")
    try:
        plain, test, trained, fingerprints = ray.get(tasks, timeout=READ_SECONDS)[0]
    except ray.exceptions.GetTimeoutError as error:
        for task in tasks:
            ray.cancel(task, force=True)
        raise ClusterError(
            f"the data could not be read within {READ_SECONDS:g} s: is a download waiting for a network? "
            "Try `tunefleet validate`, or fetch the model and the data set beforehand (HF_HOME)."
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the node that was to read the data does not answer: {error}") from error
    return CheckedData(DataSummary.model_validate(plain), RowHashes(test, trained), fingerprints)


def split_specs(spec: ExperimentSpec) -> list[FineTuneSpec]:
    """Return the spec of a trial for each split into training and validation rows: one, or one per search seed."""
    first_of = {spec.data.cut_for(seed): seed for seed in reversed(spec.seeds)}
    return [spec.trial_spec(seed) for seed in reversed(first_of.values())]


def read_on_node(
    cuts: list[FineTuneSpec], max_length: int | None, test: bool
) -> tuple[dict[str, Any], Hashes, Hashes, tuple[str, ...]]:
    """Bring the rows of all splits into this node's cache, and the model's weights into its memory; called on a node.

    Args:
        cuts: the spec of a trial for each split.
        max_length: tokens of a row at most; None: the model's own.
        test: True: the summary has the test split, too.

    Returns:
        The summary of the first cut as plain JSON, the hashes of the test rows, those of the training and validation
        rows of all cuts, and the fingerprints of the cuts.
    """
    import numpy as np

    from trainables.data.encoding import prepare_task
    from trainables.models.files import read_weights

    # A split that cannot be drawn is an error here, and not one of all trials of its seed.
    others = [
        (one.row_hashes.trained, one.facts.fingerprint) for one in (prepare_task(c, max_length) for c in cuts[1:])
    ]
    first = prepare_task(cuts[0], max_length)
    summary = first.summary(test=test).model_copy(update={"cuts": len(cuts)})
    rows = first.row_hashes
    read_weights(cuts[0].model, cuts[0].revision)
    trained = np.unique(np.concatenate([rows.trained, *(hashes for hashes, _ in others)]))
    fingerprints = (first.facts.fingerprint, *(fingerprint for _, fingerprint in others))
    return summary.model_dump(mode="json"), rows.test, trained, fingerprints


def node_options(session: Session) -> list[dict[str, Any]]:
    """Return Ray's options for one task on each node that holds trials; those then find the rows there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = [node for node in session.nodes if node.holds(session.resources)]
    return [{"scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=True)} for node in there] or [{}]
