from __future__ import annotations

from typing import Any

import pytest

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError
from llmwright.data.config import PrepareConfig
from llmwright.data.recognise import Recognised, recognise
from llmwright.data.shapes.shape import Options, RowError

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
GPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
LEARNED = {"messages": CHAT, "learn": [False, True]}
ASK = [{"role": "user", "content": "hi"}]


def find(*rows: dict[str, Any], said: list[str] | None = None, **settings: Any) -> Recognised:
    config = parse(PrepareConfig, {"source": "x", **settings})
    return recognise(rows, "x.json", config, said.append if said is not None else lambda _: None)


@pytest.mark.parametrize(
    ("values", "shape", "row"),
    [
        ({"text": "one"}, "documents", {"text": "one"}),
        ({"paragraphs": ["a", "b"], "author": "x"}, "documents", {"text": "a\nb"}),
        (
            {"instruction": "add", "input": "1 2", "output": "3", "system": "be exact"},
            "alpaca",
            {
                "messages": [
                    {"role": "system", "content": "be exact"},
                    {"role": "user", "content": "add\n1 2"},
                    {"role": "assistant", "content": "3"},
                ]
            },
        ),
        ({"conversations": GPT, "tools": "[]"}, "sharegpt", LEARNED),
        ({"messages": CHAT}, "openai", LEARNED),
        ({"conversations": CHAT}, "openai", LEARNED),
        ({"prompt": "a", "completion": "b"}, "completion", {"input": "a", "target": "b"}),
        ({"source": "a", "target": "b"}, "pair", {"input": "a", "target": "b"}),
        ({"question": "a", "answer": "b"}, "pair", {"input": "a", "target": "b"}),
        (
            {"prompt": "hi", "chosen": "good", "rejected": "bad"},
            "preference",
            {"prompt": ASK, "chosen": "good", "rejected": "bad"},
        ),
        (
            {"chosen": [*ASK, CHAT[1]], "rejected": [*ASK, {"role": "assistant", "content": "no"}]},
            "preference",
            {"prompt": ASK, "chosen": "hello", "rejected": "no"},
        ),
        (
            {"prompt": "hi", "completion": "ok", "label": True},
            "kto",
            {"prompt": ASK, "completion": "ok", "flag": True},
        ),
        (
            {"messages": CHAT, "label": False},
            "kto",
            {"prompt": ASK, "completion": "hello", "flag": False},
        ),
        ({"sentence": "a", "label": 3, "id": 7}, "classification", {"text": "a", "label": "3"}),
        (
            {"premise": "a", "hypothesis": "b", "label": "no"},
            "classification",
            {"text": "a", "text_pair": "b", "label": "no"},
        ),
        (
            {"text": "a", "labels": ["y", "x", "y"]},
            "multi_label",
            {"text": "a", "labels": ["x", "y"]},
        ),
        ({"words": ["a"], "ner_tags": ["O"]}, "tags", {"tokens": ["a"], "tags": ["O"]}),
    ],
)
def test_shape_and_row(values: dict[str, Any], shape: str, row: dict[str, Any]) -> None:
    said: list[str] = []
    found = find(values, values, said=said)
    assert found.shape.name == shape
    assert found.shape.convert(values, found.columns, Options()) == row
    assert any(f"Recognised {shape} rows" in s and "Override with shape" in s for s in said)


@pytest.mark.parametrize("key", ["weight", "loss_weight"])
def test_a_turn_of_weight_0_is_read_and_not_learned(key: str) -> None:
    turns = [*CHAT, *ASK, {"role": "assistant", "content": "no", key: 0, "name": "x", "tools": []}]
    said: list[str] = []
    values = {"messages": turns, "system": "be kind"}
    found = find(values, values, {"messages": None}, said=said)
    row = found.shape.convert(values, found.columns, Options())
    assert row["learn"] == [False, False, True, False, False]
    assert [len(turn) for turn in row["messages"]] == [2] * 5
    assert said[-1] == "Columns that are not used: messages[].name."
    for weight in (0.5, "1"):
        values["messages"] = [ASK[0], {**CHAT[1], key: weight}]
        with pytest.raises(RowError, match="only 0 and 1"):
            found.shape.convert(values, found.columns, Options())
    values["messages"] = [ASK[0], {**CHAT[1], key: 0}]
    with pytest.raises(RowError, match="weight 0"):
        found.shape.convert(values, found.columns, Options())


def test_the_users_columns_decide() -> None:
    row = {"description": "今天天气很好", "weather": "今天天气晴朗", "text": "x", "label": "y"}
    found = find(row, columns={"input": "description", "target": "weather"})
    assert (found.shape.name, found.task) == ("pair", "seq2seq")
    assert find(row, columns={"text": "weather"}).shape.name == "documents"
    assert find(row, columns={"text": "text", "label": "weather"}).columns["label"] == "weather"


def test_task_and_shape_narrow_the_choice() -> None:
    pair = {"prompt": "a", "completion": "b"}
    assert find(pair).task == "text-generation"
    assert find(pair, task="seq2seq").task == "seq2seq"
    both = {"question": "a", "answer": "b", "label": "c"}
    with pytest.raises(InputError, match=r"DATA-033.*classification.*pair"):
        find(both)
    assert find(both, task="text-classification").shape.name == "classification"
    assert find(both, shape="pair").shape.name == "pair"


@pytest.mark.parametrize("separator", [",", "；", "、", "/"])
def test_any_usual_separator_of_labels_is_asked_about(separator: str) -> None:
    labels = ["joy", "anger", f"joy{separator}anger", f"anger{separator}joy", "n/a"]
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)]
    with pytest.raises(InputError, match="DATA-036") as info:
        find(*rows)
    assert f'label_separator: "{separator}"' in info.value.fix


def test_separated_labels_are_asked_about_and_split_when_told() -> None:
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate(["a", "b", "a,b", "b,a"])]
    with pytest.raises(InputError, match='DATA-036.*"a,b"') as info:
        find(*rows)
    assert 'label_separator: ","' in info.value.fix
    found = find(*rows, label_separator=",")
    assert found.shape.name == "multi_label"
    options = Options(",", ("zero", "one"))
    row = found.shape.convert({"text": "t", "label": "1,0"}, found.columns, options)
    assert row["labels"] == ["one", "zero"]
    assert find(*rows, shape="classification").shape.name == "classification"


def test_columns_without_names_are_told_apart_by_value_or_asked_about() -> None:
    texts = ["go home now", "win a prize", "see you later", "call this number", "good night all"]
    rows = [{"column_1": "ham" if i % 2 else "spam", "column_2": f"{t} {i}"} for i, t in
            enumerate(texts * 4)]  # fmt: skip
    assert find(*rows).columns == {"text": "column_2", "label": "column_1"}
    pairs = [{"column_1": f"hello {i}", "column_2": f"你好 {i}"} for i in range(20)]
    with pytest.raises(InputError, match=r"DATA-032.*column_1, column_2 all hold texts"):
        find(*pairs)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"columns": {"text": "txt"}}, ConfigError, 'DATA-030.*"txt"'),
        ({"columns": {"tekst": "text"}}, ConfigError, 'DATA-031.*"tekst"'),
        ({"split": {"group": "fraze"}}, ConfigError, 'DATA-030.*"fraze"'),
        ({"task": "seq2seq"}, ConfigError, "DATA-034.*text-classification"),
        ({"shape": "alpaca"}, InputError, "DATA-035.*instruction, output"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find({"text": "a", "label": "b", "phrase": "c"}, **settings)


def test_unknown_names_are_not_guessed() -> None:
    with pytest.raises(InputError, match="DATA-032.*Columns: description, weather"):
        find({"description": "a", "weather": "b"})
