"""Names the modules that the processes of trials import before they have a trial."""

from __future__ import annotations

from cluster.workers.forking.server import Imports
from trainables.worker import prestart, prestart_any


def slot_imports(*, trains: bool = True) -> Imports:
    """Return the modules of the fine-tuning; with `trains` false, those of every slot: it may compute anything."""
    chosen = prestart if trains else prestart_any
    return Imports(chosen.EARLY, ("ray", chosen.__name__))
