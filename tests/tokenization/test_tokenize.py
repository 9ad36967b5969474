"""The operation: dataset in, tokenizer artifact with a report out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmwright.core import files
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Event, Notice, Progress
from llmwright.core.runs import Run
from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.load import load_tokenizer
from llmwright.tokenization.measure import measure
from llmwright.tokenization.special import CHATML
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
    *_, measured, advice = [e for e in events if isinstance(e, Notice)]
    assert (measured.level, advice.level) == ("warning", "warning")
    assert "jieba" in advice.text


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
    assert texts_of({"tokens": ["a", "b"], "tags": ["O", "O"]}, "tags") == [["a", "b"]]
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


TRAIN = [
    ["The", "quick", "brown", "foxes", "were", "jumping", "over", "lazy", "dogs", "in", "London"],
    ["Lazy", "dogs", "were", "watching", "the", "quick", "foxes", "of", "London"],
]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "word"])
def test_tagged_words_are_trained_and_measured_as_they_are_encoded(
    kind: str, make_dataset, run: Run
) -> None:
    rows = [{"tokens": words, "tags": ["O"] * len(words)} for words in TRAIN]
    dataset = make_dataset("token-classification", "tags", train=rows * 20)
    artifact = tokenize(TokenizeConfig(kind=kind, vocab_size=600), {"dataset": dataset}, run)
    tokenizer = load_tokenizer(artifact.path)
    ids = [
        tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
        for words in TRAIN
    ]
    per_word = sum(map(len, ids)) / sum(map(len, TRAIN))
    report = files.read_json(artifact.path / "report.json")["splits"]["train"]
    assert report["tokens_per_word"] == pytest.approx(per_word)
    assert report["exact"] == 1
    if kind != "unigram":  # which makes no pieces of words that are all different
        assert per_word < 1.1
    assert not [t for t in tokenizer.get_vocab() if t[0] in "Ġ▁" and t[1:]]


@pytest.mark.parametrize("kind", ["word", "jieba", "char", "wordpiece", "unigram", "bpe"])
@pytest.mark.parametrize("settings", [{"min_frequency": 2}, {"vocab_size": 320}])
def test_the_words_of_the_template_are_never_unknown(
    kind: str, settings: dict[str, int], make_dataset, run: Run
) -> None:
    if kind == "unigram":
        settings = {"vocab_size": 320}
    said = [f"word{i} word{i} 天气" for i in range(400)]
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": a}] for a in said]
    dataset = make_dataset("text-generation", "messages", train=[{"messages": c} for c in chats])
    artifact = tokenize(TokenizeConfig(kind=kind, **settings), {"dataset": dataset}, run)
    tokenizer = load_tokenizer(artifact.path)
    assert len(tokenizer) <= settings.get("vocab_size", 8000)
    for role in ("system", "user", "assistant", "tool"):
        assert tokenizer.unk_token_id not in tokenizer(f"{role}\n")["input_ids"], role
    user, assistant = (tokenizer(f"{role}\n")["input_ids"] for role in ("user", "assistant"))
    assert user != assistant
    if kind == "bpe":
        assert len(user) == len(assistant) == 2


def test_load_refuses_what_it_cannot_use(make_dataset, run: Run) -> None:
    for name, value in {
        "vocab_size": 500,
        "min_frequency": 2,
        "framing": "eos",
        "special": {"pad": "[PAD]"},
    }.items():
        with pytest.raises(ConfigError, match=f"TOK-009.*{name}"):
            parse(TokenizeConfig, {"kind": "load", "source": "x", name: value})
    with pytest.raises(ConfigError, match="TOK-008.*source, revision.*bpe"):
        parse(TokenizeConfig, {"source": "Qwen/Qwen3-0.6B", "revision": "main"})
    # What the Python API hands over without being asked.
    parse(TokenizeConfig, {"kind": "load", "source": "x", "vocab_size": 8000, "framing": "auto"})
    dataset = make_dataset("text-generation", "text", train=[{"text": "abc"}])
    made = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    config = parse(TokenizeConfig, {"kind": "load", "source": str(made.path), "lowercase": True})
    with pytest.raises(ConfigError, match="TOK-009.*lowercase"):
        tokenize(config, {}, run)


def test_the_template_of_a_loaded_tokenizer(make_dataset, run: Run, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "好"}, {"role": "assistant", "content": "天"}]
    dataset = make_dataset("text-generation", "messages", train=[{"messages": chat}])
    made = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    expected = {"auto": CHATML, "none": None, "chatml": CHATML, "mine.jinja": "{{ messages }}"}
    for choice, template in expected.items():
        config = TokenizeConfig(kind="load", source=str(made.path), chat_template=choice)
        assert load_tokenizer(tokenize(config, {}, run).path).chat_template == template


def test_a_missing_template_file_is_named(make_dataset, run: Run) -> None:
    dataset = make_dataset("text-generation", "text", train=[{"text": "abc"}])
    config = TokenizeConfig(kind="char", chat_template="gone.jinja")
    with pytest.raises(ConfigError, match="TOK-006.*gone.jinja"):
        tokenize(config, {"dataset": dataset}, run)


def test_a_large_split_is_measured_by_rows_from_all_of_it(
    make_dataset, run: Run, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmwright.data.records.STREAM_ROWS", 100)
    monkeypatch.setattr("llmwright.tokenization.texts._TELL_ROWS", 250)
    rows = [{"text": f"a{'b' * (i % 7)}", "source": "x", "row": i} for i in range(6001)]
    dataset = make_dataset("text-generation", "text", train=rows)
    artifact = tokenize(TokenizeConfig(kind="char"), {"dataset": dataset}, run)
    report = files.read_json(artifact.path / "report.json")["splits"]["train"]
    kept = [rows[int(index)]["text"] for index in np.linspace(0, 6000, 5000)]
    assert report["num_texts"] == 5000
    assert report["num_characters"] == sum(map(len, kept))
    told = [(e.done, e.total) for e in events if isinstance(e, Progress) and e.stage == "train"]
    assert told[:3] == [(0, 6001), (250, 6001), (500, 6001)]
