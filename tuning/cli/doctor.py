"""`tunefleet doctor`: what this machine, and the cluster of a spec, has and lacks for a run, with advice.

In: a spec, or nothing. Out: findings by machine. Nothing is started or changed; a cluster is joined, and its nodes are
examined.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.capacity import ClusterError
from cluster.examination import Finding, State, examine_machine
from tuning.cli.command import Command
from tuning.cli.doctor_checks import (
    examine_cache,
    examine_precision,
    examine_storage,
    examine_store,
    examine_tracking,
    examine_versions,
)
from tuning.cli.exit_status import FAILED, SUCCESS
from tuning.cli.hub_checks import HubNeeds, examine_hub
from tuning.cli.parameters import optional_spec_argument, overrides_argument
from tuning.spec.mistakes import SpecError

if TYPE_CHECKING:
    from cluster.capacity import Node
    from tuning.spec.models import ExperimentSpec

HERE = "this machine"
WIDTH = 118  # of a line of advice
SKEW_SECONDS = 5.0  # by which the clocks of two machines may differ: times of reports are compared
ANSWER_SECONDS = 60.0  # for a node's examination
WITHOUT_SPEC: Mapping[str, Any] = {  # what is looked at where no spec is given: no model, no data
    "name": "doctor",
    "task": "text_classification",
    "trainable": "learning_curve",
    "epochs": 1,
    "space": {"learning_rate": {"loguniform": [1e-5, 1e-3]}},
    "strategies": [{"kind": "random", "trials": 1}],
}


@click.command(cls=Command)
@optional_spec_argument
@overrides_argument
@click.option("--json", "as_json", is_flag=True, help="the findings as JSON")
def doctor_command(spec: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what this machine, or a spec's cluster, has and lacks for a run."""
    source: str | None = spec
    if spec is not None and "=" in spec:
        source, overrides = None, (spec, *overrides)
    found = examine(WITHOUT_SPEC if source is None else source, overrides)
    if as_json:
        print(
            json.dumps(
                {place: [finding.to_json() for finding in findings] for place, findings in found.items()}, indent=2
            )
        )
    else:
        print("\n".join(lines_of(found)))
    lacking = any(finding.state is State.LACKING for findings in found.values() for finding in findings)
    return FAILED if lacking else SUCCESS


def lines_of(found: Mapping[str, list[Finding]]) -> Iterator[str]:
    """Lines of text: a line per finding with its advice below it, and a last line that counts them."""
    width = max(len(finding.topic) for findings in found.values() for finding in findings)
    for place, findings in found.items():
        yield f"{place}:"
        for finding in findings:
            first, *more = finding.found.splitlines() or [""]
            yield f"  {finding.state:7}  {finding.topic:{width}}  {first}"
            indent = " " * (width + 13)
            yield from (f"{indent}{line}" for line in more)
            if finding.advice:
                yield from textwrap.wrap(
                    finding.advice, WIDTH, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   "
                )
    states = [finding.state for findings in found.values() for finding in findings]
    lacking, notes = states.count(State.LACKING), states.count(State.NOTE)
    yield "nothing is lacking" if not lacking else f"{lacking} lacking: a run would fail"
    if notes:
        yield f"{notes} to note"


def examine(source: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, list[Finding]]:
    """Examine this machine, and each node of the spec's cluster; returns the findings by machine.

    Args:
        source, overrides: as `load_spec` takes them.
    """
    from tuning.spec.loading import load_spec

    here = [*examine_versions(), *examine_machine(), *examine_precision()]
    try:
        spec = load_spec(source, overrides)
    except SpecError as error:
        mend = "mend it; `tunefleet validate` shows the same"
        here.append(Finding("spec", State.LACKING, str(error), mend))
        return {HERE: [*here, *examine_cache(), *examine_hub()]}
    needs = None if source is WITHOUT_SPEC else HubNeeds.of(spec)
    checks = (
        examine_storage(spec),
        examine_cache(),
        examine_store(spec),
        examine_hub(needs, here=spec.cluster.address is None),
        examine_tracking(spec),
    )
    found = {HERE: [*here, *(finding for check in checks for finding in check)]}
    if spec.cluster.address is not None:
        found |= _cluster(spec, needs)
    return found


def _cluster(spec: ExperimentSpec, needs: HubNeeds | None) -> dict[str, list[Finding]]:
    """The findings by node of the spec's cluster, which is joined for that."""
    from cluster.session import connect

    place = f"cluster {spec.cluster.address}"
    with contextlib.ExitStack() as stack:
        folder = spec.run_folder.parent
        if not folder.exists():
            stack.callback(_remove_if_empty, folder)  # it is made to see whether every node can write to it
        try:
            reads = spec.local_inputs
            session = stack.enter_context(connect(spec.cluster, run_folder=folder, reads=reads))
        except ClusterError as error:
            return {place: [Finding("cluster", State.LACKING, str(error))]}
        found = {place: [Finding("cluster", State.FINE, session.describe())]}
        for node, findings in _examine_nodes(session.nodes, needs):
            found[f"node {node.address} ({node.id[:8]})"] = findings
    return found


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _examine_nodes(nodes: tuple[Node, ...], needs: HubNeeds | None) -> Iterator[tuple[Node, list[Finding]]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(_examine_node)
    answers = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        answers[node] = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(needs)
    for node, answer in answers.items():
        try:
            clock, findings = ray.get(answer, timeout=ANSWER_SECONDS)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            advice = "look at the node with `ray status`, or take it out of the cluster"
            yield node, [Finding("answer", State.LACKING, reason, advice)]
            continue
        yield node, [*findings, *_clock(clock)]


def _examine_node(needs: HubNeeds | None) -> tuple[float, list[Finding]]:
    hub = [] if needs is None else examine_hub(needs)
    findings = [*examine_machine(), *examine_precision(), *hub]
    return time.time(), findings


def _clock(there: float) -> Iterator[Finding]:
    """Compare a node's clock with this machine's; the time that the answer took counts in its favour."""
    skew = abs(time.time() - there)
    if skew > SKEW_SECONDS:
        yield Finding(
            "clock", State.NOTE, f"differs by {skew:.0f} s from this machine's", "synchronise it (chrony, NTP)"
        )
