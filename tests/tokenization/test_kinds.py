"""Every kind of tokenizer: round trips, saving, repeatability, special tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from llmwright.core.errors import ConfigError
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHATML, Framing
from llmwright.tokenization.steps import apply_steps, steps_of

KINDS = ["bpe", "wordpiece", "unigram", "char", "word", "jieba"]
EXACT = ["bpe", "unigram", "char", "jieba"]


def train(kind: str, texts: list[str], frame: str = "none", **values):
    config = TokenizeConfig(kind=kind, **({"vocab_size": 600} | values))
    return TOKENIZERS.get(kind)(config, texts, Framing(frame=frame, chat_template=CHATML))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_tokenizer_is_the_same(kind: str, sentences: list[str], tmp_path: Path) -> None:
    tokenizer = train(kind, sentences, "cls_sep")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    assert steps_of(loaded) == steps_of(tokenizer)
    assert loaded.chat_template == tokenizer.chat_template
    for text in [*sentences, "unseen 文字 ⚡", ""]:
        prepared = apply_steps(steps_of(loaded), text)
        ids = tokenizer(prepared)["input_ids"]
        assert loaded(prepared)["input_ids"] == ids
        assert loaded.decode(ids) == tokenizer.decode(ids)
        assert ids[0] == loaded.cls_token_id
        assert ids[-1] == loaded.sep_token_id


@pytest.mark.parametrize("kind", EXACT)
def test_known_text_decodes_to_itself(kind: str, sentences: list[str]) -> None:
    tokenizer = train(kind, sentences)
    for text in [*sentences, "\n\n  " + sentences[2] + "\n"]:
        ids = tokenizer(apply_steps(steps_of(tokenizer), text))["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_bytes_know_every_text(sentences: list[str]) -> None:
    tokenizer = train("bpe", sentences)
    text = "ᚠᛇᚻ ⚡ 𝒳 龘 \x00\u200b"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("kind", ["wordpiece", "word"])
def test_words_come_back_readable(kind: str, sentences: list[str]) -> None:
    tokenizer = train(kind, sentences)
    chinese = tokenizer(sentences[0])["input_ids"]
    assert tokenizer.decode(chinese, skip_special_tokens=True) == sentences[0]
    english = "Hello world, don't stop."
    assert tokenizer.decode(tokenizer(english)["input_ids"]) == english


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same(kind: str, sentences: list[str]) -> None:
    first, second = (train(kind, sentences * 3) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert len(first) <= 600
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_apart(kind: str, sentences: list[str]) -> None:
    tokenizer = train(kind, sentences, "eos")
    ids = {tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id}
    assert len(ids | {tokenizer.eos_token_id}) == 4
    assert tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.cls_token_id is None


def test_jieba_cuts_words_and_keeps_white_space() -> None:
    tokenizer = train("jieba", ["北京大学的学生 爱\n学习"])
    cut = apply_steps(steps_of(tokenizer), "北京大学的学生 爱\n学习")
    assert cut == "北京大学 的 学生 ▁ 爱 ↵ 学习"
    assert tokenizer.decode(tokenizer(cut)["input_ids"]) == "北京大学的学生 爱\n学习"


def test_min_frequency_and_vocab_size_leave_out(sentences: list[str]) -> None:
    every = train("char", ["aab"])
    often = train("char", ["aab"], min_frequency=2)
    assert "b" in every.get_vocab()
    assert "b" not in often.get_vocab()
    assert often("b")["input_ids"] == [often.unk_token_id]
    assert len(train("char", sentences, vocab_size=20)) == 20


def test_lowercase_forgets_case(sentences: list[str]) -> None:
    for kind in KINDS:
        tokenizer = train(kind, sentences, lowercase=True)
        assert tokenizer("HELLO")["input_ids"] == tokenizer("hello")["input_ids"]


def test_bpe_without_room_for_bytes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="TOK-002"):
        train("bpe", ["a"], vocab_size=100)


def test_unigram_has_no_min_frequency() -> None:
    with pytest.raises(ConfigError, match="TOK-003"):
        train("unigram", ["a"], min_frequency=2)


def test_chat_template_marks_what_the_assistant_says() -> None:
    tokenizer = train("char", ["user assistant\n 你好吗很"])
    chat = [{"role": "user", "content": "你好吗"}, {"role": "assistant", "content": "很好"}]
    found = tokenizer.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [i for i, m in zip(found["input_ids"], found["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(marked) == "很好<eos>"
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<bos>user\n你好吗<eos>\n<bos>assistant\n"


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_no_room_for_the_characters_is_an_error(kind: str) -> None:
    text = "".join(chr(0x4E00 + index) for index in range(300))
    with pytest.raises(ConfigError, match="TOK-007"):
        train(kind, [text], vocab_size=100)
