"""The `cluster:` section of a spec: the address of Ray, the share of a node per trial, the storage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

UNITS = 10_000  # Ray counts resources in steps of 1e-4
ROUNDING = 1e-6


@dataclass(frozen=True)
class TrialResources:
    """The resources that one trial holds while it runs; all of them on one node."""

    cpus: float  # logical cores
    gpus: float  # 0, a fraction of one GPU, or a whole number

    def to_ray(self, workers: int = 1) -> PlacementGroupFactory:
        """Returns Tune's `resources_per_trial`: a placement group on one node.

        Args:
            workers: processes that compute the trial. Several get a bundle each, with an equal share of everything; the
                trial's own actor, which leads them, then runs beside the first one and holds nothing.
        """
        from ray.tune import PlacementGroupFactory

        share = {"CPU": math.floor(self.cpus / workers * UNITS + ROUNDING) / UNITS, "GPU": self.gpus / workers}
        leader: list[dict[str, float]] = [{}] if workers > 1 else []
        return PlacementGroupFactory([*leader, *[share] * workers], strategy="STRICT_PACK")


class ClusterSpec(BaseModel):
    """The `cluster:` section of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(
        None,
        description="null: a local Ray for this run, shut down after it. 'auto': the cluster that `ray start` made on "
        "this machine. 'host:port': a cluster elsewhere, from one of its machines.",
    )
    allow_unauthenticated: bool = Field(
        False,
        description="Join other machines whose Ray asks for no token: whoever reaches its ports runs code there.",
    )
    run_by: str | None = Field(
        None,
        description="On a machine that several accounts share: the account (name or number) whose Ray is joined, where "
        "it is neither yours nor root's. That account then gets the cluster's token, and runs code as you.",
    )
    cpus_per_trial: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Cores; with several GPUs its processes share them alike, and one for each is sensible."
    )
    gpus_per_trial: float | Literal["auto"] | None = Field(
        None,
        description="null: 1 where the cluster has GPUs, else 0. Fractions share a GPU (0.5: two trials on one). auto: "
        "trials are measured on the device first, and as many share a GPU as fit there and are faster together. "
        "2 or more: the rows of each step are divided among as many processes on one node, a GPU each; "
        "per_device_train_batch_size stays the rows of a batch over all of them. A trainable of your own, and "
        "learning_curve, are one process that holds them all and uses them as it likes.",
    )
    mps: bool = Field(
        True,
        description="Where trials share a GPU: under NVIDIA's Multi-Process Service, started for this run where that "
        "is permitted. false: in time slices; a crash of one trial's CUDA then cannot take its neighbours along.",
    )
    max_concurrent: Annotated[int, Field(ge=1)] | None = Field(
        None, description="At most this many trials at a time; null: as many as the resources hold."
    )
    fill_slots: bool = Field(
        True,
        description="Slots that one search of the experiment leaves free compute for the next ones. false: one search "
        "after the other. With a budget in wall_seconds that is so in any case: it is the time that is compared.",
    )
    heartbeat_seconds: Annotated[float, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="Seconds. A trial whose process makes no step for so long (it hangs, or was stopped) is killed and "
        "has failed: it starts again from its checkpoint, once in any case, then while `max_failures` allows. Before "
        "the first step it has ten times as long, ten minutes at least, as long as it shows every minute that it is "
        "alive. auto: 600 for the "
        "trainables of this package, null for your own, of which nothing is known between two reports "
        "(`trainables.step_done()` tells more); null: it may take any time. A training of `confirm` or `train-final` "
        "and a look at test have the same heartbeat, and start once more.",
    )
    storage: str = Field(
        "runs",
        description="Folder that every node reaches; the run folder is STORAGE/NAME. Relative to where you start. Or a "
        "bucket: s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, with credentials from each machine's role or environment.",
    )

    @field_validator("address")
    @classmethod
    def _auto_or_host_and_port(cls, value: str | None) -> str | None:
        if value is None or value == "auto":
            return value
        host, _, port = value.rpartition(":")
        if "://" in value or not host or not port.isdigit():
            raise ValueError("must be null, auto, or host:port of a Ray head (its port is 6379 by default)")
        return value

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _a_share_or_whole_gpus(cls, value: object) -> object:
        rule = "must be 0, a fraction of one GPU, a whole number of them, auto or null"
        if value is None or value == "auto":
            return value
        try:
            share = float(str(value))
        except ValueError as error:
            raise ValueError(rule) from error
        if not (0 <= share <= 1 or (share > 1 and share.is_integer())):
            raise ValueError(rule)
        return share

    @property
    def way_in(self) -> str:
        """The first step of a run, for the line that is shown while it takes seconds."""
        return "starting a local Ray" if self.address is None else f"joining Ray at {self.address}"

    def run_folder(self, name: str) -> Path:
        """Returns the absolute folder that holds everything that the experiment `name` writes."""
        return Path(self.storage).expanduser().absolute() / name
