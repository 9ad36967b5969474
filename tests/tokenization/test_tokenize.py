"""The operation: dataset in, tokenizer artifact with a report out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmwright.core import files
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Event, Notice
from llmwright.core.runs import Run
from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.load import load_tokenizer
from llmwright.tokenization.measure import measure
from llmwright.tokenization.texts import texts_of
from llmwright.tokenization.tokenize import tokenize


def test_report_is_measured_on_both_splits(
    make_dataset, run: Run, events: list[Event], sentences: list[str]
) -> None:
    dataset = make_dataset(
        "text-generation",
        "text",
        train=[{"text": text} for text in sentences],
        validation=[{"text": "今天ÆØ"}],
    )
    artifact = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    report = files.read_json(artifact.path / "report.json")
    train, held_out = report["splits"]["train"], report["splits"]["validation"]
    assert artifact.kind == "tokenizer"
    assert artifact.metadata["vocab_size"] == report["vocab_size"]
    assert report["vocab_size"] == len(set("".join(sentences))) + 4
    assert (train["unknown_rate"], train["coverage"], train["exact"]) == (0, 1, 1)
    assert train["tokens_per_character"] == 1
    assert (held_out["unknown_rate"], held_out["coverage"]) == (0.5, 0.5)
    assert held_out["num_tokens"] == 4
    assert [e.level for e in events if isinstance(e, Notice)][-1] == "warning"


@pytest.mark.parametrize(
    ("task", "row_type", "row", "expected"),
    [
        ("seq2seq", "pair", {"input": "晴", "target": "天"}, ["晴", "<eos>"]),
        (
            "text-classification",
            "classification",
            {"text": "晴", "label": "x"},
            ["<cls>", "晴", "<sep>"],
        ),
        (
            "token-classification",
            "tags",
            {"tokens": ["晴"], "tags": ["O"]},
            ["<cls>", "晴", "<sep>"],
        ),
        ("text-generation", "text", {"text": "晴"}, ["晴"]),
    ],
)
def test_framing_follows_the_task(
    task: str, row_type: str, row, expected: list[str], make_dataset, run: Run
) -> None:
    dataset = make_dataset(task, row_type, train=[row])
    artifact = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    tokenizer = load_tokenizer(artifact.path)
    assert tokenizer.convert_ids_to_tokens(tokenizer("晴")["input_ids"]) == expected


def test_messages_get_a_template_and_its_letters(make_dataset, run: Run) -> None:
    chat = [{"role": "user", "content": "好"}, {"role": "assistant", "content": "天"}]
    dataset = make_dataset("text-generation", "messages", train=[{"messages": chat}])
    artifact = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    tokenizer = load_tokenizer(artifact.path)
    ids = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
    assert tokenizer.unk_token_id not in ids


def test_same_config_makes_the_same_artifact(make_dataset, run: Run, sentences: list[str]) -> None:
    dataset = make_dataset("text-generation", "text", train=[{"text": t} for t in sentences])
    config = TokenizeConfig(kind="bpe", vocab_size=300)
    first, second = (tokenize(config, {"dataset": dataset}, run) for _ in range(2))
    assert first.id == second.id


def test_load_works_without_a_dataset(
    make_dataset, run: Run, sentences: list[str], tmp_path: Path
) -> None:
    dataset = make_dataset("seq2seq", "pair", train=[{"input": t, "target": t} for t in sentences])
    made = tokenize(TokenizeConfig(kind="jieba"), {"dataset": dataset}, run)
    taken = tokenize(TokenizeConfig(kind="load", source=str(made.path)), {}, run)
    report = files.read_json(taken.path / "report.json")
    assert report["splits"] == {}
    assert report["text_steps"] == [{"kind": "jieba"}]


def test_training_needs_a_dataset_with_text(make_dataset, run: Run) -> None:
    with pytest.raises(ConfigError, match="TOK-001"):
        tokenize(TokenizeConfig(kind="char"), {}, run)
    empty = make_dataset("text-generation", "text", train=[{"text": " "}])
    with pytest.raises(InputError, match="TOK-005"):
        tokenize(TokenizeConfig(kind="char"), {"dataset": empty}, run)


def test_unknown_kind_names_the_closest() -> None:
    with pytest.raises(ConfigError, match='Did you mean "unigram"'):
        parse(TokenizeConfig, {"kind": "unigramm"})


def test_texts_of_every_row_type() -> None:
    chat = [{"role": "user", "content": "a"}]
    assert texts_of({"text": "a"}, "text") == ["a"]
    assert texts_of({"input": "a", "target": "b"}, "pair") == ["a", "b"]
    assert texts_of({"messages": chat}, "messages") == ["a"]
    assert texts_of({"text": "a", "text_pair": None, "label": "x"}, "classification") == ["a"]
    assert texts_of({"tokens": ["a", "b"], "tags": ["O", "O"]}, "tags") == ["a b"]
    row = {"prompt": chat, "chosen": "b", "rejected": "c"}
    assert texts_of(row, "preference") == ["a", "b", "c"]
    assert texts_of({"prompt": chat, "completion": "b", "flag": True}, "flag") == ["a", "b"]


def test_words_count_chinese_characters(sentences: list[str]) -> None:
    from llmwright.tokenization.config import TOKENIZERS
    from llmwright.tokenization.special import Framing

    tokenizer = TOKENIZERS.get("char")(TokenizeConfig(kind="char"), sentences, Framing())
    found = measure(tokenizer, ["北京 hello, it is"])
    assert found["num_words"] == 5
    assert measure(tokenizer, [])["unknown_rate"] is None


def test_tokenizing_needs_no_torch() -> None:
    program = (
        "import sys, llmwright.tokenization.tokenize as t, llmwright.models.config;"
        "from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig;"
        "from llmwright.tokenization.special import Framing;"
        "x = TOKENIZERS.get('char')(TokenizeConfig(kind='char'), ['ab'], Framing());"
        "x('ab'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
