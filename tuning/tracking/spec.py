"""The section `wandb` of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.spec import Frozen


class WandbSpec(Frozen):
    """Weights & Biases. The key itself never stands in a spec: WANDB_API_KEY or a file that only you can read."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto",
        description="auto: as WANDB_MODE or `wandb offline` say, else online when a key is found, else disabled; "
        "offline: files for `wandb sync`. Where these say less than the mode here, they are obeyed.",
    )
    project: str | None = Field(None, description="null: $WANDB_PROJECT, else tunefleet")
    entity: str | None = Field(None, description="a user or a team; null: $WANDB_ENTITY, else the key's own")
    key_file: str | None = Field(None, description="holds the key on one line; mode 0600")
