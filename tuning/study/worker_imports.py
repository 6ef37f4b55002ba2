"""What the processes of slots have imported before they have a trial."""

from __future__ import annotations

from cluster.workers.forking.server import Imports
from trainables.worker import prestart


def slot_imports() -> Imports:
    """Those of the fine-tuning."""
    return Imports(prestart.EARLY, ("ray", prestart.__name__))
