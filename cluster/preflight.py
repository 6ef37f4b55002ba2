"""Checks, before the first trial, that every node of a cluster can run the trials.

One small task per node, all at once, reports what is there (`cluster.node_report`). `problems_of` compares that with
the driver; `check_nodes` refuses the run with one table of nodes and problems. Imports neither torch nor models.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.capacity import ClusterError, Node
from cluster.node_report import (
    PROBE,
    NodeReport,
    NodeRequest,
    examine_node,
    first_line,
    installed_versions,
    module_digests,
)
from cluster.workers.code_shipping import PACKAGES

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

ANSWER_SECONDS = 90.0  # a first worker on a busy node starts within this
NOT_CUDA = ("AMD", "Intel", "TPU", "aws", "HPU", "NPU")  # how Ray's names of other makers' accelerators begin


def do_nothing() -> None:
    """Does nothing; the default of what is done meanwhile."""


def check_nodes(
    nodes: Sequence[Node],
    filesystem: FileSystem,
    folder: str,
    *,
    modules: Sequence[str] = (),
    reads: Sequence[str] = (),
    meanwhile: Callable[[], None] = do_nothing,
) -> None:
    """Examines all nodes at once, and refuses the run if one of them has a problem.

    Args:
        nodes: of the cluster.
        filesystem: of the storage path.
        folder: the run folder there; it exists.
        modules: top-level names of the user's own modules that trials import.
        reads: local files and folders that trials read.
        meanwhile: called while the nodes work.

    Raises:
        ClusterError: holds a table of nodes and problems; or this machine itself cannot write the folder.
    """
    probe = f"{folder}/.probe-{uuid.uuid4().hex}"
    request = NodeRequest((*PACKAGES, *modules), tuple(map(str, reads)), filesystem, probe)
    with _probe_file(filesystem, probe):
        pending = _start_examinations(nodes, request)
        own = NodeReport(installed_versions(), module_digests(request.modules), {}, None, 0)
        try:
            meanwhile()
        except BaseException:
            with contextlib.suppress(Exception):  # what the nodes have written is deleted; the first error counts
                _problem_table(nodes, own, pending, request)
            raise
        table = _problem_table(nodes, own, pending, request)
    if table:
        raise ClusterError(_table_text(table, nodes))


def _problem_table(
    nodes: Sequence[Node], own: NodeReport, pending: Mapping[Any, str], request: NodeRequest
) -> list[tuple[Node, str]]:
    """Collects the reports of all nodes and returns their problems; deletes what the nodes have written."""
    answers = _collect_reports(pending)
    return [(node, problem) for node in nodes for problem in _problems_of_node(node, own, answers[node.id], request)]


def problems_of(node: Node, own: NodeReport, found: NodeReport) -> Iterator[str]:
    """Yields the problems of a node: where its report differs from the driver's `own`, or is insufficient.

    Each is a sentence with the next step.
    """
    for name, version in own.versions.items():
        there = found.versions.get(name)
        if there is None or _public(there) != _public(version):
            yield f"{name} {there or 'is missing'}, here {version}. Install the same version on both."
    for name in (name for name, digest in own.digests.items() if found.digests[name] != digest):
        what = "differs from this machine's" if found.digests[name] else "is not found"
        yield f"our package or your module {name} {what}. Install the same copy, or submit the run as a job."
    for path, reason in found.unreadable.items():
        yield f"{path} cannot be read: {reason}. Copy it there under the same path, or use a shared folder."
    if found.storage:
        yield f"{found.storage}. Set cluster.storage to a place that every node reads and writes."
    if node.gpus and node.accelerator and not node.accelerator.startswith(NOT_CUDA):
        if found.cuda in (0, "") or isinstance(found.cuda, str):
            yield (
                f"Ray says {node.gpus:g} x {node.accelerator}, CUDA finds none ({found.cuda or 'no device'}). Mend its "
                "driver, or start its Ray with --num-gpus=0."
            )
        elif found.versions.get("torch", "").endswith("+cpu"):
            yield f"torch {found.versions['torch']} cannot use its {node.accelerator}. Install torch with CUDA."


@contextlib.contextmanager
def _probe_file(filesystem: FileSystem, probe: str) -> Iterator[None]:
    try:
        with filesystem.open_output_stream(probe) as stream:
            stream.write(PROBE)
    except Exception as error:
        raise ClusterError(
            f"cluster.storage: {probe.rpartition('/')[0]} cannot be written from here: {first_line(error)}. Set "
            "cluster.storage to a place that this machine and every node reach."
        ) from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            filesystem.delete_file(probe)
        raise
    filesystem.delete_file(probe)


def _start_examinations(nodes: Sequence[Node], request: NodeRequest) -> dict[Any, str]:
    """Starts the examination of each node; returns the node's id by Ray's reference to its report."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(examine_node)
    pending: dict[Any, str] = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        answer = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(request, node.id)
        pending[answer] = node.id
    return pending


def _collect_reports(pending: Mapping[Any, str]) -> dict[str, NodeReport | str]:
    """Returns the reports by node id; a text in place of a report says why there is none."""
    import ray

    answered, silent = ray.wait(list(pending), num_returns=len(pending), timeout=ANSWER_SECONDS)
    found: dict[str, NodeReport | str] = {}
    for answer in answered:
        try:
            found[pending[answer]] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:  # such as: our code cannot be imported there
            found[pending[answer]] = f"the check failed: {_last_line(error)}. Install tunefleet there."
        except ray.exceptions.RayError as error:
            found[pending[answer]] = f"no task runs there: {first_line(error)}. Look at it with `ray status`."
    for answer in silent:
        ray.cancel(answer, force=True)
        found[pending[answer]] = (
            f"no answer within {ANSWER_SECONDS:g} s. Look at it with `ray status`, or take it out of the cluster."
        )
    return found


def _problems_of_node(node: Node, own: NodeReport, found: NodeReport | str, request: NodeRequest) -> list[str]:
    if isinstance(found, str):
        return [found]
    problems = list(problems_of(node, own, found))
    if found.storage is None:
        try:
            with request.filesystem.open_input_stream(f"{request.probe}-{node.id}") as stream:
                came_back = stream.read() == PROBE
            request.filesystem.delete_file(f"{request.probe}-{node.id}")
        except FileNotFoundError:
            came_back = False
        if not came_back:
            folder = request.probe.rpartition("/")[0]
            problems.append(
                f"cluster.storage: what it writes to {folder} is not seen from this machine. Set cluster.storage to a "
                "place that is the same everywhere."
            )
    return problems


def _table_text(table: Sequence[tuple[Node, str]], nodes: Sequence[Node]) -> str:
    addresses = [node.address for node in nodes]
    names = {n.id: n.address if addresses.count(n.address) == 1 else f"{n.address} ({n.id[:8]})" for n in nodes}
    width = max(len(names[node.id]) for node, _ in table)
    wrong = len({node.id for node, _ in table})
    lines = [f"  {names[node.id]:{width}}  {problem}" for node, problem in table]
    return "\n".join([f"cluster.address: {wrong} of {len(nodes)} nodes cannot run these trials:", *lines])


def _public(version: str) -> str:
    """Removes the local part of a version: a head without a GPU may have the CPU build of the same torch."""
    return version.partition("+")[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
