"""What the processes of slots have imported before they have a trial."""

from __future__ import annotations

from cluster.fork_server import Imports
from trainables import warm


def slot_imports() -> Imports:
    """Those of the fine-tuning."""
    return Imports(warm.EARLY, ("ray", warm.__name__))
