"""`tunefleet doctor`: what this machine, and the cluster of a spec, has and lacks for a run, with advice.

In: a spec, or nothing. Out: findings by machine. Nothing is started or changed; a cluster is joined, and its nodes are
examined.
"""

from __future__ import annotations

import contextlib
import json
import os
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.capacity import ClusterError
from cluster.examination import Finding, State, examine_folder, examine_machine
from cluster.storage import is_uri
from trainables.data.cache_folder import FOLDER_VARIABLE, cache_folder
from trainables.errors import InputError
from trainables.models.files import resolve_model
from trainables.tasks import find_task
from trainables.wording import counted
from tuning.cli.command import Command
from tuning.cli.exit_status import FAILED, SUCCESS
from tuning.cli.parameters import optional_spec_argument, overrides_argument
from tuning.spec.mistakes import SpecError
from tuning.spec.validation.network_disks import network_disk
from tuning.spec.validation.versions import unsupported

if TYPE_CHECKING:
    from cluster.capacity import Node
    from tuning.spec.models import ExperimentSpec

HERE = "this machine"
WIDTH = 118  # of a line of advice
REACH_SECONDS = 5.0  # for one answer of a server outside
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

    here = [*_versions(), *examine_machine()]
    try:
        spec = load_spec(source, overrides)
    except SpecError as error:
        mend = "mend it; `tunefleet validate` shows the same"
        here.append(Finding("spec", State.LACKING, str(error), mend))
        return {HERE: [*here, *_cache(), *_hub()]}
    checks = (
        _storage(spec),
        _cache(),
        _store(spec),
        _hub(needed=source is WITHOUT_SPEC or _uses_hub(spec)),
        _tracking(spec),
    )
    found = {HERE: [*here, *(finding for check in checks for finding in check)]}
    if spec.cluster.address is not None:
        found |= _cluster(spec)
    return found


def _versions() -> Iterator[Finding]:
    for mistake in unsupported():
        yield Finding(mistake.path, State.LACKING, f"{mistake.value}: {mistake.rule}", mistake.next_step)


def _storage(spec: ExperimentSpec) -> Iterator[Finding]:
    storage = spec.cluster.storage
    if not is_uri(storage):
        yield from examine_folder("storage", Path(storage).expanduser().absolute(), "set cluster.storage=FOLDER")
        return
    from cluster.storage import probe_bucket

    try:
        probe_bucket(storage)
    except ClusterError as error:
        yield Finding("storage", State.LACKING, str(error), "set cluster.storage to a place that can be written")
        return
    yield Finding("storage", State.FINE, f"{storage} can be written, read and deleted from")


def _cache() -> Iterator[Finding]:
    step = f"set {FOLDER_VARIABLE} to a folder of yours on a local disk"
    try:
        folder = cache_folder()
    except InputError as error:
        yield Finding("cache", State.LACKING, f"{error.name}: {error.rule}", step)
        return
    if disk := network_disk(folder):
        found = f"{folder} lies on a network disk ({disk}), where locks may not hold"
        yield Finding("cache", State.NOTE, found, step)
    else:
        yield from examine_folder("cache", folder, step)


def _store(spec: ExperimentSpec) -> Iterator[Finding]:
    from tuning.spec.store_url import StoreError, masked, sqlite_file
    from tuning.store.study_store import StudyStore

    url = spec.store_url
    if (file := sqlite_file(url)) is not None and not file.exists():
        yield Finding("store", State.FINE, f"{masked(url)}, made by the first run")
        return
    store = StudyStore(url)
    try:
        names = store.experiments()
    except StoreError as error:
        yield Finding("store", State.LACKING, str(error), "mend the URL or the server (TUNEFLEET_STORE, store)")
        return
    finally:
        with contextlib.suppress(StoreError):
            store.close()
    yield Finding("store", State.FINE, f"{masked(url)}: {counted(len(names), 'experiment')}")


def _uses_hub(spec: ExperimentSpec) -> bool:
    """True if the spec's trials load their model or their rows from the Hub, or may, as those of a user's own code."""
    if spec.own:
        return True
    if spec.trainable != "finetune":
        return False
    return not Path(resolve_model(spec.model)).is_dir() or find_task(spec.task).options(spec.data).hub is not None


def _hub(*, needed: bool = True) -> Iterator[Finding]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    kept = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    held = f"{cache} holds {counted(kept, 'model')}"
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", State.FINE, f"switched off (HF_HUB_OFFLINE); {held}")
    elif not needed:
        yield Finding("hub", State.FINE, "this spec loads nothing from it")
    elif why := _unreachable(constants.ENDPOINT):
        advice = (
            "name a local folder (model, data.path), or a cache that holds them (HF_HOME, with HF_HUB_OFFLINE=1); "
            "behind a proxy set https_proxy; with a mirror set HF_ENDPOINT"
        )
        yield Finding("hub", State.NOTE, f"{constants.ENDPOINT} cannot be reached: {why}; {held}", advice)
    else:
        token = "a token is there" if _has_hub_token() else "no token: gated models and pushes need `hf auth login`"
        yield Finding("hub", State.FINE, f"{constants.ENDPOINT} answers; {token}; {held}")


def _has_hub_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _tracking(spec: ExperimentSpec) -> Iterator[Finding]:
    from tuning.tracking.tracking import has_key, mode_in_force

    known = has_key(spec.wandb)
    mode, source = mode_in_force(spec.wandb, key=known)
    key = "a key is there" if known else "no key"
    if mode != "online":
        yield Finding("W&B", State.FINE, f"{mode}{f' ({source})' if source else ''}, {key}: nothing is sent")
        return
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    if why := _unreachable(server):
        advice = "set wandb.mode=offline and `wandb sync` later; behind a proxy set https_proxy"
        yield Finding("W&B", State.NOTE, f"{key}; {server} cannot be reached: {why}", advice)
    else:
        yield Finding("W&B", State.FINE, f"{key}; {server} answers")


def _unreachable(url: str) -> str | None:
    """Why no server answers at `url`, in a few words; None: a server answers, whatever it answers."""
    import requests

    try:
        requests.head(url, timeout=REACH_SECONDS, allow_redirects=False)
    except requests.exceptions.ProxyError:
        return "the proxy does not let it through"
    except requests.exceptions.SSLError:
        return "its certificate is not trusted here (behind a company's proxy: REQUESTS_CA_BUNDLE, SSL_CERT_FILE)"
    except requests.exceptions.Timeout:
        return f"no answer within {REACH_SECONDS:g} s"
    except requests.exceptions.RequestException as error:
        return f"no connection ({type(error).__name__})"
    return None


def _cluster(spec: ExperimentSpec) -> dict[str, list[Finding]]:
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
        for node, findings in _examine_nodes(session.nodes):
            found[f"node {node.address} ({node.id[:8]})"] = findings
    return found


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _examine_nodes(nodes: tuple[Node, ...]) -> Iterator[tuple[Node, list[Finding]]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(_examine_node)
    answers = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        answers[node] = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()
    for node, answer in answers.items():
        try:
            clock, findings = ray.get(answer, timeout=ANSWER_SECONDS)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            advice = "look at the node with `ray status`, or take it out of the cluster"
            yield node, [Finding("answer", State.LACKING, reason, advice)]
            continue
        yield node, [*findings, *_clock(clock)]


def _examine_node() -> tuple[float, list[Finding]]:
    return time.time(), examine_machine()


def _clock(there: float) -> Iterator[Finding]:
    """Compare a node's clock with this machine's; the time that the answer took counts in its favour."""
    skew = abs(time.time() - there)
    if skew > SKEW_SECONDS:
        yield Finding(
            "clock", State.NOTE, f"differs by {skew:.0f} s from this machine's", "synchronise it (chrony, NTP)"
        )
