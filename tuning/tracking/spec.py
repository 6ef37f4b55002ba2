"""The section `wandb` of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.spec import Frozen


class WandbSpec(Frozen):
    """Tracking with Weights & Biases. The key is not in the spec: set WANDB_API_KEY or name a file of mode 0600."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto",
        description="auto: the mode of WANDB_MODE or `wandb offline`, else online if a key is found, else disabled; "
        "offline: files for `wandb sync`. If WANDB_MODE sends less than the mode here, it wins.",
    )
    project: str | None = Field(None, description="null: $WANDB_PROJECT, else tunefleet")
    entity: str | None = Field(None, description="a user or a team; null: $WANDB_ENTITY, else the key's own")
    key_file: str | None = Field(None, description="holds the key on one line; mode 0600")
