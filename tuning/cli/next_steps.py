"""The last line of a command: the next commands, ready to be pasted. In: a spec. Out: a line of text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.spec import ClusterSpec
from cluster.storage import is_uri

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def after_run(spec: ExperimentSpec) -> str:
    """The line after a run that is complete."""
    from tuning.selection.keepable import makes_a_model

    named = _named(spec)
    commands = [f"tunefleet report {named}"]
    if makes_a_model(spec):
        commands.append(f"tunefleet train-final {named}")
    return f"Next: {', '.join(commands)}"


def after_validate(source: str, overrides: Sequence[str]) -> str:
    """The line after a spec was found to be valid: how to run it, as it was given."""
    return f"Next: {shlex.join(['tunefleet', 'run', source, *overrides])}"


def _named(spec: ExperimentSpec) -> str:
    """The experiment as an argument of the commands that read it, from this working directory."""
    if is_uri(storage := spec.cluster.storage):
        return f"{spec.name} --storage {shlex.quote(storage)}"
    if spec.run_folder == ClusterSpec().run_folder(spec.name):
        return spec.name
    return f"{spec.name} --storage {shlex.quote(str(spec.run_folder.parent))}"
