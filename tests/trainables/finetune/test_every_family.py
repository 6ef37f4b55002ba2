"""Every family with a text classifier in transformers behaves as `trainables.models.families` records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.any_family import END, PAD, POSITIONS, small_classifier
from tests.support.attention import RowByRow
from trainables.finetune.lengths_attention import attend_by_lengths, may_attend_by_lengths, of_batch
from trainables.models.families import (
    NOT_FOR_PLAIN_TEXT,
    PADDED_IN_FRONT,
    POSITIONS_AFTER_PADDING,
    READS_END_OF_TEXT,
    SEES_PADDING,
    UNLIMITED_POSITIONS,
    model_types,
    position_limit,
    text_classifiers,
)

pytestmark = pytest.mark.unit

TOO_LARGE = {"perceiver"}  # has no size that could be made small
NOT_MADE_SMALL = {"cohere_compass_text", "mistral4"}  # sizes that depend on one another
BUILT = sorted(text_classifiers() - NOT_FOR_PLAIN_TEXT.keys() - TOO_LARGE - NOT_MADE_SMALL)
SHORT, LONG = [1, 10, 20, 30, END], [1, *range(10, 50), END]
# Their attention looks at blocks of a long row, drawn by its length: the rows below are short to them.
BLOCKS = {"big_bird", "bigbird_pegasus"}
# They have an attention of their own, or a decoder beside their encoder: these are left as they are.
OWN_ATTENTION = {
    "bart", "big_bird", "bigbird_pegasus", "bloom", "canine", "convbert", "deberta", "deberta-v2", "falcon",
    "flaubert", "fnet", "funnel", "gemma2", "gpt_neo", "gpt_oss", "ibert", "lilt", "longformer", "luke", "mbart",
    "megatron-bert", "mpnet", "mpt", "mra", "mt5", "mvp", "nystromformer", "openai-gpt", "plbart", "rembert",
    "roformer", "squeezebert", "t5", "t5gemma", "t5gemma2", "umt5", "xlm", "xlnet", "yoso",
}  # fmt: skip
# They could take attention by lengths, and no layer asks for a plain mask, or has heads of one size.
WITHOUT_PLAIN_LAYERS = {"axk2", "doge", "layoutlm"}


def logits(model: Any, rows: list[list[int]], length: int, front: bool = False) -> torch.Tensor:
    """The scores of `rows` in one batch, padded to `length` tokens."""
    ids, mask = [], []
    for row in rows:
        padding, seen = [PAD] * (length - len(row)), [1] * len(row)
        ids.append(padding + row if front else row + padding)
        mask.append([0] * len(padding) + seen if front else seen + [0] * len(padding))
    takes = {} if model.config.model_type == "fnet" else {"attention_mask": torch.tensor(mask)}
    torch.manual_seed(0)  # YOSO draws its hashes
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor(ids), **takes).logits
    return found


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return not torch.allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module", params=BUILT)
def built(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Gives a family and its model, which its tests share: to build one of each takes most of their time."""
    return request.param, small_classifier(request.param)


def test_padding_changes_the_score_only_of_the_families_that_are_said_to_see_it(built: tuple[str, Any]) -> None:
    kind, model = built
    front = kind in PADDED_IN_FRONT
    alone = logits(model, [SHORT], len(SHORT), front)
    assert differ(alone, logits(model, [SHORT], len(LONG), front)) is (kind in SEES_PADDING - BLOCKS)
    # Padded to one length, the row has one score, whoever is beside it.
    same = logits(model, [SHORT], len(LONG), front)
    assert not differ(same, logits(model, [SHORT, LONG], len(LONG), front)[:1]) or kind == "yoso"


def test_attention_by_lengths_changes_no_score(built: tuple[str, Any]) -> None:
    kind, model = built
    assert may_attend_by_lengths(model) is (kind not in OWN_ATTENTION)
    if kind in OWN_ATTENTION:
        return
    front = kind in PADDED_IN_FRONT
    expected = logits(model, [SHORT, LONG], len(LONG), front)
    kernel = RowByRow()
    attend_by_lengths(model, kernel)
    try:
        kept = [[*[0] * (len(LONG) - len(SHORT)), *[1] * len(SHORT)], [1] * len(LONG)]
        of_batch(np.array(kept if front else [row[::-1] for row in kept], dtype=bool), model.device)
        found = logits(model, [SHORT, LONG], len(LONG), front)
    finally:
        model.set_attn_implementation("sdpa")
    assert not differ(found, expected)
    assert kernel.calls or kind in WITHOUT_PLAIN_LAYERS


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_the_blocks_that_a_long_row_attends_to_are_drawn_by_its_padded_length(kind: str) -> None:
    model = small_classifier(kind, max_position_embeddings=2048)
    row = [1, *(10 + n % 80 for n in range(798)), END]
    assert differ(logits(model, [row], 800), logits(model, [row], 1500))


def test_only_the_families_that_are_said_to_want_as_many_ends_of_text_in_each_row(built: tuple[str, Any]) -> None:
    kind, model = built
    rows = [[1, 10, 20, END, END], [1, 10, 20, 30, END]]
    if kind in READS_END_OF_TEXT:
        with pytest.raises(ValueError, match="same number of <eos> tokens"):
            logits(model, rows, 5)
    else:
        assert logits(model, rows, 5).shape == (2, 2)


@pytest.mark.parametrize("kind", sorted(POSITIONS_AFTER_PADDING - NOT_FOR_PLAIN_TEXT.keys()))
def test_positions_that_begin_after_the_padding_end_where_the_limit_says(kind: str) -> None:
    model = small_classifier(kind)
    limit = position_limit(model.config.to_dict())
    assert limit == POSITIONS - (1 if kind == "mpnet" else PAD) - 1  # MPNet's count from 1 on, whatever it pads with
    row = [5, *(10 + n % 80 for n in range(limit - 2)), END]
    assert logits(model, [row], limit).shape == (1, 2)
    if kind == "esm":
        return  # its newer versions have rotary positions, which do not end
    with pytest.raises((IndexError, RuntimeError)):
        logits(model, [[*row[:-1], 10, END]], limit + 1)


# As DeBERTa's third version is published.
RELATIVE = {"relative_attention": True, "position_biased_input": False, "position_buckets": 16, "pos_att_type": ["p2c"]}


@pytest.mark.parametrize("kind", [*sorted(UNLIMITED_POSITIONS), "deberta-v2"])
def test_families_without_a_limit_take_longer_texts_than_any_number_in_their_configuration(kind: str) -> None:
    model = small_classifier(kind, **(RELATIVE if kind == "deberta-v2" else {}))
    assert position_limit(model.config.to_dict()) is None
    row = [1, *(10 + n % 80 for n in range(POSITIONS * 2)), END]
    assert logits(model, [row], len(row)).isfinite().all()


def test_the_names_read_from_the_sources_are_those_that_transformers_goes_by() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    assert text_classifiers() == set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    known = {name for name in CONFIG_MAPPING_NAMES if not name[0].isupper()}
    assert known >= model_types() - {"mimi_decoder"}
    assert len(known - model_types()) < 20
