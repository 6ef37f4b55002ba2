"""The names of the files in a run folder, and the spec there with a checksum in its first line.

The names of the spec, the store and the folder of studies are those of `tuning.spec.models`.
"""

from __future__ import annotations

import hashlib

CHECKSUM_LINE = "# SHA-256 of what follows: "
ORIGIN = "fetched.json"  # in a folder that `tunefleet fetch` has made
RESULTS, COMPARISON_JSON, COMPARISON = "results.json", "comparison.json", "comparison.md"  # that it writes there
FETCHED_REPORTS = (RESULTS, COMPARISON_JSON, COMPARISON)
LOCK_FILE = "driver.lock"  # held by the process that runs the experiment (`tuning.run_folder.run_lock`)


def spec_with_checksum(spec: str) -> str:
    """Returns the text of a spec after a comment with its checksum, which shows later damage and edits."""
    return f"{CHECKSUM_LINE}{hashlib.sha256(spec.encode()).hexdigest()}\n{spec}"
