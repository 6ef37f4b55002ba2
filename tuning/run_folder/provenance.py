"""The provenance of a study: versions of Python and of the libraries on the driver, and digests of the code.

A resume with others would mix results of both under one name. It is refused, with the differences, unless the user
insists (`--force`); then each study that continues records both, and the comparison reports it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import CODE, LIBRARIES, OWN_CODE, attribute_label
from tuning.spec.models import ExperimentSpec

PACKAGES = ("cluster", "trainables", "tuning")


def library_versions() -> dict[str, str]:
    """Returns the version of each library, and of Python; read from package metadata, without imports."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def provenance_of(spec: ExperimentSpec) -> dict[str, str]:
    """Returns the versions and digests of the code: ours, and the module or package of the user's own trainable.

    Other modules that the user's code imports are not included.
    """
    found = {**library_versions(), CODE: _own_code()}
    if spec.own_modules:
        found[OWN_CODE] = _digest(spec.own_modules)
    return found


def refuse_other_provenance(studies: Sequence[StudyOutcome], now: Mapping[str, str]) -> None:
    """Refuses to continue studies under another provenance.

    Args:
        studies: as recorded.
        now: of this process, from `provenance_of`.

    Raises:
        RunFolderError: a study was made with other versions or code; names the differences.
    """
    differing = {}
    for name, value in now.items():
        before = sorted({str(study.attributes[name]) for study in studies if name in study.attributes} - {value})
        if before:
            differing[name] = f"{attribute_label(name)} {' and '.join(before)} before, {value} now"
    if differing:
        raise RunFolderError(
            f"the experiment was made with something else ({'; '.join(differing.values())}), and results of both would "
            "stand under one name. Bring the old ones back, or go on with --force: each study that goes on records "
            "both, and `tunefleet compare` says so"
        )


@functools.cache
def _own_code() -> str:
    return _digest(PACKAGES)


def _digest(modules: Sequence[str]) -> str:
    """Returns 12 hex digits of a digest of the sources, wherever they are installed; nothing is imported."""
    digest = hashlib.sha256()
    for module in modules:
        for name, path in _sources(module):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _sources(module: str) -> Iterator[tuple[str, Path]]:
    found = importlib.util.find_spec(module)
    if found is None:
        return
    if found.submodule_search_locations is None:
        yield module, Path(str(found.origin))
        return
    for place in sorted({str(Path(one).resolve()) for one in found.submodule_search_locations}):
        for path in sorted(Path(place).rglob("*.py")):
            yield f"{module}/{path.relative_to(place)}", path
