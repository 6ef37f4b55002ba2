"""Names the modules that the processes of trials import before they have a trial."""

from __future__ import annotations

from cluster.workers.forking.server import Imports
from trainables.worker import prestart


def slot_imports() -> Imports:
    """Return the modules of the fine-tuning."""
    return Imports(prestart.EARLY, ("ray", prestart.__name__))
