"""What every kind of tokenizer must do: call `check_tokenizer` in the tests of yours.

from llmwright.testing.tokenizer import check_tokenizer

def test_my_tokenizer() -> None:
    check_tokenizer(train_my_tokenizer, lossless=True)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.load import load_tokenizer
from llmwright.tokenization.special import Framing
from llmwright.tokenization.steps import apply_steps, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transformers import PreTrainedTokenizerFast

TEXTS = (
    "the weather is fine today",
    "the wind is cold, the sun is warm",
    "今天天气很好,明天有雨",
    "It's 3.5 degrees (minus 2 at night)!",
    "a b  c",
) * 3
ODD_TEXTS = ("", " ", "unseen: žluťoučký kůň 👩‍👩‍👧", "<pad><eos>", "\n\t", "x" * 300)


def check_tokenizer(
    train: Callable[[TokenizeConfig, Iterable[str], Framing], PreTrainedTokenizerFast],
    *,
    lossless: bool = False,
    **settings: Any,
) -> None:
    """Train on a few texts and run every check.

    Args:
        train: What is registered as ``tokenizer``.
        lossless: Whether decoding is promised to give back every training text exactly.
        **settings: Fields of `TokenizeConfig`.
    """
    config = TokenizeConfig(**({"vocab_size": 400} | settings))
    tokenizer = train(config, TEXTS, Framing(frame="cls_sep"))
    check_size(tokenizer, config)
    check_special(tokenizer)
    check_texts(tokenizer)
    check_saving(tokenizer)
    check_repeat(tokenizer, train(config, TEXTS, Framing(frame="cls_sep")))
    if lossless:
        check_lossless(tokenizer)


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str, special: bool = False) -> list[int]:
    """Return the ids of a text after the tokenizer's own text steps."""
    ready = apply_steps(steps_of(tokenizer), text)
    found: list[int] = tokenizer(ready, add_special_tokens=special)["input_ids"]
    return found


def check_size(tokenizer: PreTrainedTokenizerFast, config: TokenizeConfig) -> None:
    """The vocabulary keeps to its limit, and its ids run from 0 without a hole."""
    assert len(tokenizer) <= config.vocab_size, f"{len(tokenizer)} entries of {config.vocab_size}"
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def check_special(tokenizer: PreTrainedTokenizerFast) -> None:
    """Each special token has an id of its own, and frames a text when asked to."""
    names = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in names}
    assert ids["pad"] is not None, "it has no padding token"
    given = [index for index in ids.values() if index is not None]
    assert len(set(given)) == len(given), f"special tokens share an id: {ids}"
    plain, framed = (ids_of(tokenizer, TEXTS[0], special) for special in (False, True))
    assert framed == [ids["cls"], *plain, ids["sep"]], f"{framed} does not frame {plain}"


def check_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    """Any text becomes ids of the vocabulary, and none of them special by accident."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for text in (*TEXTS, *ODD_TEXTS):
        ids = ids_of(tokenizer, text)
        assert all(0 <= index < len(tokenizer) for index in ids), f"{text!r} became {ids}"
        if "<" not in text:
            assert not special & set(ids), f"{text!r} became special tokens: {ids}"
    for text in TEXTS:
        unknown = ids_of(tokenizer, text).count(tokenizer.unk_token_id)
        assert not unknown, f"{text!r} was trained on and has {unknown} unknown tokens"


def check_saving(tokenizer: PreTrainedTokenizerFast) -> None:
    """A saved tokenizer comes back with the same ids, texts and text steps."""
    with tempfile.TemporaryDirectory() as name:
        tokenizer.save_pretrained(name)
        again = load_tokenizer(Path(name))
    assert steps_of(again) == steps_of(tokenizer), "its text steps are lost by saving"
    for text in (*TEXTS, *ODD_TEXTS):
        for special in (False, True):
            ids = ids_of(tokenizer, text, special)
            found = ids_of(again, text, special)
            assert found == ids, f"{text!r} was {ids}, after saving {found}"
        assert again.decode(ids) == tokenizer.decode(ids), f"{text!r} decodes differently"


def check_repeat(one: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast) -> None:
    """Training again on the same texts gives the same tokenizer."""
    assert one.get_vocab() == other.get_vocab(), "training again gave another vocabulary"


def check_lossless(tokenizer: PreTrainedTokenizerFast) -> None:
    """Decoding gives back every training text exactly."""
    for text in TEXTS:
        found = tokenizer.decode(ids_of(tokenizer, text), skip_special_tokens=True)
        assert found == text, f"{text!r} came back as {found!r}"
