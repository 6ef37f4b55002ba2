"""Reads W&B's mode from its environment variables and settings files, without importing wandb.

WANDB_DISABLED=true wins, as in transformers' Trainer. Then come WANDB_MODE, and the two files that `wandb offline` and
`wandb disabled` write. The first of these that sets a mode counts.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Literal, NamedTuple

Mode = Literal["online", "offline", "disabled"]
MODE_VARIABLE, DISABLED_VARIABLE = "WANDB_MODE", "WANDB_DISABLED"
MODES: dict[str, Mode] = {
    **{"online": "online", "run": "online", "shared": "online"},
    **{"offline": "offline", "dryrun": "offline", "disabled": "disabled"},
}
TRUE = ("1", "true", "yes", "on", "y", "t")


class OutsideMode(NamedTuple):
    """A mode that is set outside the spec, and where."""

    mode: Mode
    source: str  # such as WANDB_MODE=offline


def find_outside_mode() -> OutsideMode | None:
    """Returns the mode that variables or settings files set; None if they set none or an unknown one."""
    if (value := os.environ.get(DISABLED_VARIABLE, "").strip()).lower() in TRUE:
        return OutsideMode("disabled", f"{DISABLED_VARIABLE}={value}")
    if value := os.environ.get(MODE_VARIABLE, "").strip():
        return OutsideMode(MODES[value.lower()], f"{MODE_VARIABLE}={value}") if value.lower() in MODES else None
    for file in _settings_files():
        if (mode := MODES.get(_mode_in(file))) is not None:
            return OutsideMode(mode, str(file))
    return None


def unknown_mode() -> str | None:
    """Returns the value of WANDB_MODE if it is no mode; else None."""
    value = os.environ.get(MODE_VARIABLE, "").strip()
    return value if value and value.lower() not in MODES else None


def _settings_files() -> tuple[Path, ...]:
    """Returns the settings files of the working directory and of the account, in this order."""
    base = Path(os.environ.get("WANDB_DIR") or ".")
    folder = next((base / name for name in (".wandb", "wandb") if (base / name).is_dir()), base / "wandb")
    account = Path(os.environ.get("WANDB_CONFIG_DIR") or Path("~", ".config", "wandb").expanduser())
    return folder.absolute() / "settings", account / "settings"


def _mode_in(file: Path) -> str:
    """Returns the mode in a settings file; empty if it sets none or cannot be read, as in wandb."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return ""
    return parser.get("default", "mode", fallback="", raw=True).strip().lower()
