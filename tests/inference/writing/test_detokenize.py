"""Text while it is written: whole characters only, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llmwright.inference.writing.detokenize import Detokenizer

TEXTS = [
    "今天天气很好，适合出门散步。",
    "emoji 😀😀👨‍👩‍👧 ☔ and  double  spaces\n\nlines",
    "don't , I 'm here . Zürich naïve",
    " leading and trailing ",
]


def metaspace() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=["[UNK]"], show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")


def pieces_of(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push(token) for token in ids), detokenizer.end()]


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_never_cuts_a_character(text: str, byte_bpe: PreTrainedTokenizerFast) -> None:
    ids = byte_bpe(text)["input_ids"]
    pieces = pieces_of(byte_bpe, ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(ids) > len(text.split())


@pytest.mark.parametrize("make", [metaspace, wordpiece])
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_add_up_to_the_whole(make: object, text: str) -> None:
    tokenizer = make()  # type: ignore[operator]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_random_tokens_add_up_to_the_whole(byte_bpe: PreTrainedTokenizerFast) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        ids = random.integers(0, len(byte_bpe), 40).tolist()
        whole = byte_bpe.decode(ids, skip_special_tokens=True)
        assert "".join(pieces_of(byte_bpe, ids)) == whole


def test_special_tokens_are_not_shown(byte_bpe: PreTrainedTokenizerFast) -> None:
    ids = byte_bpe("天气")["input_ids"]
    assert "".join(pieces_of(byte_bpe, [2, *ids, 3])) == "天气"
