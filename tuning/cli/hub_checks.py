"""The check of `tunefleet doctor` on the Hugging Face Hub: can trials load their model and rows, from it or its cache?

In: what a spec's trials load. Out: findings, each with advice. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.examination import Finding, State
from trainables.models.files import cached_folder, resolve_model
from trainables.models.inspection import folder_errors
from trainables.spec import DataSpec, FineTuneSpec
from trainables.tasks import find_task
from trainables.tasks.sources import reads_local_files
from trainables.wording import counted
from tuning.cli.doctor_checks import unreachable

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

ADVICE = (
    "name a local folder (model, data.path), or a cache that holds them (HF_HOME, with HF_HUB_OFFLINE=1); "
    "behind a proxy set https_proxy; with a mirror set HF_ENDPOINT"
)


@dataclass(frozen=True)
class HubNeeds:
    """The model and the data set that a spec's trials load from the Hub; picklable, for the nodes of a cluster."""

    model: FineTuneSpec | None = None  # its `model` and `revision` are of the Hub
    data: DataSpec | None = None  # its `hub`, `config` and `revision`
    unknown: bool = False  # what a user's own code loads is not known

    @classmethod
    def of(cls, spec: ExperimentSpec) -> HubNeeds:
        """Returns what the spec's trials load from the Hub."""
        if spec.own:
            return cls(unknown=True)
        if spec.trainable != "finetune":
            return cls()
        data = find_task(spec.task).options(spec.data)
        local = Path(resolve_model(spec.model)).is_dir()
        return cls(
            model=None if local else spec.trial_spec(spec.seeds[0]),
            data=data if data.hub is not None and not reads_local_files(data) else None,
        )

    @property
    def named(self) -> dict[str, str | None]:
        """The reason why the local cache cannot give each of them, by its name in words; None if it can."""
        named = {} if self.model is None else {f"model {self.model.model}": _why_no_model(self.model)}
        return named if self.data is None else named | {f"data set {self.data.hub}": _why_no_data(self.data)}


def examine_hub(needs: HubNeeds | None = None, *, here: bool = True) -> Iterator[Finding]:
    """Check that the Hub answers, or that its cache holds what trials load.

    Args:
        needs: of a spec; None: there is no spec, and no need is known.
        here: the trials run on this machine; what is lacking elsewhere is only noted.
    """
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if needs == HubNeeds():
        yield Finding("hub", State.FINE, "this spec loads nothing from it")
        return
    kept = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    held = f"{cache} holds {counted(kept, 'model')}"
    if constants.HF_HUB_OFFLINE:
        without = "switched off (HF_HUB_OFFLINE)"
    elif why := unreachable(constants.ENDPOINT):
        without = f"{constants.ENDPOINT} cannot be reached: {why}"
    else:
        token = "a token is there" if _has_hub_token() else "no token: gated models and pushes need `hf auth login`"
        yield Finding("hub", State.FINE, f"{constants.ENDPOINT} answers; {token}; {held}")
        return
    named = {} if needs is None else needs.named
    if lacking := {what: why for what, why in named.items() if why is not None}:
        reasons = "; ".join(f"{what} {why}" for what, why in lacking.items())
        step = f"unset HF_HUB_OFFLINE, or {ADVICE}" if constants.HF_HUB_OFFLINE else ADVICE
        yield Finding("hub", State.LACKING if here else State.NOTE, f"{without}; {reasons}", step)
    elif named and not constants.HF_HUB_OFFLINE:
        step = "set HF_HUB_OFFLINE=1: without it each process asks the Hub several times before it reads the cache"
        yield Finding("hub", State.NOTE, f"{without}; the cache holds {' and '.join(named)}", step)
    elif constants.HF_HUB_OFFLINE:
        holds = f"the cache holds {' and '.join(named)}" if named else held
        yield Finding("hub", State.FINE, f"{without}; {holds}")
    else:
        yield Finding("hub", State.NOTE, f"{without}; {held}", ADVICE)


def _has_hub_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _why_no_model(spec: FineTuneSpec) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError

    try:
        folder = cached_folder(spec.model, spec.revision)
    except HFValidationError:
        return "is no Hub id, and no folder of that name is here"
    if folder is None:
        at = "" if spec.revision is None else f" at revision {spec.revision}"
        return f"is not in the cache ({constants.HF_HUB_CACHE}){at}"
    first = next(folder_errors(spec.model_copy(update={"revision": None}), folder), None)
    return None if first is None else f"cannot be loaded from the cache: {first.name}: {first.message}"


def _why_no_data(data: DataSpec) -> str | None:
    """The reason why `datasets` would not find the data set in its cache: NAMESPACE___NAME/CONFIG/VERSION/HASH."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    *namespace, name = str(data.hub).split("/")
    folder = Path(config.HF_DATASETS_CACHE).expanduser() / "___".join([*namespace, camelcase_to_snakecase(name)])
    if any(folder.glob(f"{data.config or '*'}/*/*/dataset_info.json")):
        return None
    wanted = "" if data.config is None else f" with data.config: {data.config}"
    return f"is not in the cache ({config.HF_DATASETS_CACHE}){wanted}"
