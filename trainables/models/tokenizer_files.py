"""Checks a tokenizer's files: present, readable, and of the model's vocabulary. Without torch and the network."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.models.families import WITHOUT_VOCABULARY, is_tokenizer_class, text_config_of
from trainables.models.weight_files import (
    FETCH_AGAIN,
    FETCH_POINTER,
    LONGEST_JSON,
    POINTER,
    ModelError,
    read_model_json,
)
from trainables.spec import FineTuneSpec

FAST = "tokenizer.json"
SENTENCEPIECE = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "sentencepiece.model")
WORDS, PIECES, MERGES = "vocab.txt", "vocab.json", "merges.txt"
LOOKED_FOR = (FAST, WORDS, PIECES, *SENTENCEPIECE)
OTHERS = ("*.model", "*.tiktoken", "tekken.json", "*vocab*")  # of families with other file names
SMALLEST_SHARE = 0.1  # of the embedding's rows: a smaller vocabulary is another model's, or an empty default


def tokenizer_errors(spec: FineTuneSpec, folder: Path, config: Mapping[str, Any]) -> Iterator[ModelError]:
    """Yields what is wrong with the tokenizer in a model's folder.

    Args:
        config: what the folder's config.json holds.
    """
    try:
        stated = _stated(folder)
    except ModelError as error:
        yield error
        return
    code = stated.get("auto_map")
    if isinstance(code, Mapping) and "AutoTokenizer" in code:
        if not spec.trust_remote_code:
            rule = "its tokenizer is Python code of its own, which is not run unasked"
            step = "read that code, and set trust_remote_code: true if you trust it"
            yield ModelError("model", spec.model, rule, step)
        return
    classes = (stated.get("tokenizer_class"), config.get("tokenizer_class"), config.get("model_type"))
    if any(isinstance(name, str) and name in WITHOUT_VOCABULARY for name in classes):
        return
    yield from _file_errors(spec.model, folder)
    if (folder / FAST).is_file():
        yield from _fast_errors(spec, folder / FAST, config)
        return
    name = stated.get("tokenizer_class")
    if isinstance(name, str) and not is_tokenizer_class(name):
        rule = f"its tokenizer_config.json names the class {name}, which transformers {version('transformers')} lacks"
        yield ModelError("model", spec.model, rule, f"save the tokenizer where it can be loaded, which writes {FAST}")


def vocabulary_error(name: str, ids: Mapping[str, int], plain: set[str], rows: object) -> ModelError | None:
    """The reason why a vocabulary cannot be that of a model with `rows` token embeddings; None if it can.

    Args:
        name: the model's name, as the user gave it.
        ids: of all tokens.
        plain: the tokens that texts are split into; the others are special tokens.
        rows: of the model's token embedding; None if it is not known.
    """
    if not isinstance(rows, int) or rows <= 0:
        return None
    step = "put the tokenizer there that the model was trained with, or save both anew with save_pretrained"
    if max(ids.values(), default=0) >= rows and (beyond := sorted((ids[t], t) for t in plain if ids[t] >= rows)):
        rule = f"{len(beyond)} of its tokenizer's tokens, such as {beyond[0][1]!r} with id {beyond[0][0]}, have no row"
        return ModelError("model", name, f"{rule} in the model's embedding of {rows} (vocab_size)", step)
    if len(ids) < rows * SMALLEST_SHARE:
        rule = f"its tokenizer knows {len(ids)} tokens, the model has embeddings for {rows} (vocab_size)"
        return ModelError("model", name, f"{rule}: it is another one's, or made up for want of its files", step)
    return None


def _stated(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_model_json(path) if path.is_file() else {}


def _file_errors(name: str, folder: Path) -> Iterator[ModelError]:
    """Yields errors for vocabulary files that are missing, empty, or Git LFS pointers."""
    found = {path for pattern in (*LOOKED_FOR, *OTHERS) for path in folder.glob(pattern) if path.is_file()}
    if not found:
        rule = f"{folder} has no tokenizer; looked for {', '.join(LOOKED_FOR)}"
        step = "save it there with tokenizer.save_pretrained, the one that the model was trained with"
        yield ModelError("model", name, rule, step)
    elif not (folder / FAST).is_file():
        halves = [(PIECES, MERGES), (MERGES, PIECES)] if not any((folder / m).is_file() for m in SENTENCEPIECE) else []
        for half, other in halves:
            # Tokenizers that read vocab.json alone (whole words) are not made for text.
            if (folder / half).is_file() and not (folder / other).is_file():
                step = "copy or fetch it, or save the tokenizer there with tokenizer.save_pretrained"
                yield ModelError("model", name, f"{folder} has {half}, but not the {other} that belongs to it", step)
    for path in sorted(found):
        start = path.open("rb").read(len(POINTER))
        if start == POINTER or not start:
            rule = FETCH_POINTER if start else "is empty"
            yield ModelError("model", str(path), rule, FETCH_AGAIN)


def _fast_errors(spec: FineTuneSpec, path: Path, config: Mapping[str, Any]) -> Iterator[ModelError]:
    if path.stat().st_size == 0 or path.open("rb").read(len(POINTER)) == POINTER:
        return  # reported by `_file_errors`
    rows = text_config_of(config).get("vocab_size")
    try:
        digest = hashlib.sha256(path.read_bytes()).digest() if path.stat().st_size <= LONGEST_JSON else b""
        _check_fast(spec.model, path, rows if isinstance(rows, int) else None, digest)
    except ModelError as error:
        yield error


@functools.lru_cache(maxsize=16)  # what is refused is raised, and so not remembered
def _check_fast(name: str, path: Path, rows: int | None, digest: bytes) -> None:
    """Checks a tokenizer.json, once for each content in a process: a large one takes half a second, and notebooks,
    services and tests read the same model's spec again and again.

    Args:
        name: the model's name, as the user gave it.
        rows: of the model's token embedding; None if it is not known.
        digest: of the file's content.

    Raises:
        ModelError: it cannot be the model's.
    """
    content = read_model_json(path)
    try:
        ids, special = _tokens(content)
    except (AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        raise ModelError("model", str(path), "is JSON, but not of a tokenizer", FETCH_AGAIN) from error
    if not ids:
        raise ModelError("model", str(path), "has no vocabulary", FETCH_AGAIN)
    if wrong := vocabulary_error(name, ids, ids.keys() - special, rows):
        raise wrong


def _tokens(content: Mapping[str, Any]) -> tuple[dict[str, int], set[str]]:
    """Reads a tokenizer.json: the ids of all tokens (empty without a vocabulary), and which tokens are special.

    Raises:
        AttributeError, KeyError, TypeError, IndexError, ValueError: `content` is no tokenizer.
    """
    vocabulary = (content.get("model") or {}).get("vocab")
    if not vocabulary:
        return {}, set()
    # Either ids by piece, or a list of (piece, score) whose ids are their indices.
    plain = dict(vocabulary) if isinstance(vocabulary, dict) else {p[0]: i for i, p in enumerate(vocabulary)}
    added = {token["content"]: token for token in content.get("added_tokens") or ()}
    ids = plain | {name: token["id"] for name, token in added.items()}
    if {*map(type, ids)} != {str} or {*map(type, ids.values())} != {int}:
        raise TypeError("a token is a text, and its id a number")
    return ids, {name for name, token in added.items() if token.get("special")}
