"""Reads, overrides and checks an experiment: every mistake at once, before anything starts.

In: a YAML file, the name of a preset, or a mapping; and `key=value` overrides. Out: a frozen
`ExperimentSpec`, or a `SpecError`. No network is used, no heavy library is imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.models.files import EMBEDDED
from tuning.argument_checks import check_spec_source, override_texts
from tuning.spec.file import read_source
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.short_forms import expand_short_forms
from tuning.spec.validation.draft import Draft
from tuning.spec.validation.spec_checks import mistakes_in


def load_spec(
    source: str | Path | Mapping[str, Any] | ExperimentSpec,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    *,
    elsewhere: Collection[str] = (),
) -> ExperimentSpec:
    """Reads, overrides and checks an experiment.

    Args:
        source: a YAML file, the name of a shipped preset, a mapping as YAML would give it, or a spec that was loaded.
            Also a file or a mapping in another tool's format (`tuning.spec.formats`). Local paths in it are relative to
            the working directory, not to the file, and absolute in what is returned.
        overrides: `key=value`, dotted, with list positions: `epochs=2`, `strategies.0.trials=8`,
            `fixed.model.hidden_dropout_prob=0.1`. Values are YAML. Or the same as a mapping: `{"epochs": 2}`.
        elsewhere: dotted paths (with all below them) whose values name things of another machine: not looked for on
            this one, and left as they are.

    Raises:
        SpecError: all mistakes that can be found without a cluster, the network or the model.
    """
    texts = override_texts(overrides)
    if isinstance(source, ExperimentSpec) and not texts:
        return source
    plain = source.model_dump(mode="json") if isinstance(source, ExperimentSpec) else check_spec_source(source)
    raw, label, translation = read_source(plain, texts)
    draft, mistakes = Draft.read(expand_short_forms(raw), ExperimentSpec)
    if translation is not None:
        draft = replace(draft, broken=draft.broken | translation.broken)
    mistakes += (mistake for mistake in mistakes_in(draft) if not _lies_in(mistake.path, elsewhere))
    if translation is not None:
        mistakes = [*translation.mistakes, *translation.in_its_words(mistakes)]
        label = f"{label} ({translation.title})"
    if mistakes:
        raise SpecError(mistakes, label)
    return _anchored(draft.spec, elsewhere)


def translation_lines(source: str | Path | Mapping[str, Any], overrides: str | Sequence[str] = ()) -> list[str]:
    """Lines that tell how a file in another tool's format was read; none for a spec.

    Raises:
        SpecError: as `load_spec`, for what cannot be read.
    """
    translation = read_source(source, override_texts(overrides)).translation
    if translation is None:
        return []
    return [f"read as {translation.title}:", *(f"  {note}" for note in translation.notes)]


def _lies_in(path: str, sections: Collection[str]) -> bool:
    return any(path == section or path.startswith(f"{section}.") for section in sections)


def _anchored(spec: ExperimentSpec, elsewhere: Collection[str]) -> ExperimentSpec:
    """The spec with absolute local paths: workers, and a later resume, have another working directory."""
    data, changed = spec.data, {}
    if data.hub is None and "data" not in elsewhere:
        files = ("path",) if data.path is not None else ("train", "validation", "test")  # below `path` if that is set
        changed = {name: _absolute(value) for name in files if (value := getattr(data, name)) is not None}
    checked = "model" not in elsewhere and not (spec.own and spec.model == EMBEDDED)
    local = checked and Path(spec.model).expanduser().is_dir()
    model = _absolute(spec.model) if local else spec.model
    home = {key: _absolute(path) for key, path in spec.shipped.items() if path.startswith("~")}  # it was submitted
    moved = {"data": data.model_copy(update=changed), "model": model, **spec.shipped_to(home)}
    return spec.model_copy(update=moved)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
