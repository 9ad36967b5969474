"""The door: whatever prepare accepts as an input, under the user's names, becomes canonical."""

from __future__ import annotations

import pytest

from llmwright.core.errors import InputError

FRAME = {"frame": "cls_sep", "labels": ("O", "x")}
USER = {"role": "user", "content": "the cat"}


def test_names_that_are_swapped_mean_what_the_user_says(make) -> None:
    task, _, contract = make("seq2seq", "pair", fields={"input": "target", "target": "input"})
    assert task.read({"input": "answer", "target": "question"}, contract) == {"input": "question"}
    with pytest.raises(InputError, match="TASK-003"):
        task.read({"input": "answer"}, contract)
    task, _, contract = make(
        "text-classification",
        "classification",
        fields={"text": "title", "text_pair": "text", "label": "label"},
        **FRAME,
    )
    read = task.read({"title": "one", "text": "two"}, contract)
    assert read == {"text": "one", "text_pair": "two"}


def test_the_models_own_column_wins_over_a_prompt(make) -> None:
    task, _, contract = make("text-generation", "text", fields={"text": "body"})
    assert task.read({"prompt": "no", "body": "yes"}, contract) == {"text": "yes"}
    assert task.read({"prompt": "yes"}, contract) == {"text": "yes"}
    task, _, contract = make("text-generation", "messages")
    assert task.read({"prompt": "no", "messages": [USER]}, contract) == {"messages": [USER]}
    task, _, contract = make("text-generation", "pair", fields={"input": "a", "target": "prompt"})
    with pytest.raises(InputError, match="TASK-003"):
        task.read({"prompt": "its own answer"}, contract)


@pytest.mark.parametrize(("value", "text"), [(12345, "12345"), (0.5, "0.5"), (["a", "b"], "a\nb")])
def test_values_are_texts_as_prepare_reads_them(make, value, text) -> None:
    task, _, contract = make("text-classification", "classification", **FRAME)
    assert task.read({"text": value}, contract) == {"text": text}


@pytest.mark.parametrize("value", [{"a": 1}, True, [1, 2], "\ud800"])
def test_what_is_no_text_is_said(make, value) -> None:
    task, _, contract = make("text-classification", "classification", **FRAME)
    with pytest.raises(InputError) as error:
        task.read({"text": value}, contract)
    assert error.value.code == "TASK-011"
    assert error.value.message.isprintable()


@pytest.mark.parametrize("value", [["a", 1], 7, ["\ud800"]])
def test_what_are_no_words_is_said(make, value) -> None:
    task, _, contract = make("token-classification", "tags", **FRAME)
    with pytest.raises(InputError) as error:
        task.read({"tokens": value}, contract)
    assert error.value.code == "TASK-011"


@pytest.mark.parametrize(
    "values",
    [
        {"messages": [USER]},
        {"chat": [USER]},
        {"chat": [{"from": "human", "value": "the cat"}]},
        {"chat": [{"role": "user", "content": [{"type": "text", "text": "the cat"}]}]},
        {"instruction": "the cat", "input": "", "output": "sat"},
        {"指令": "the cat"},
        {"prompt": "the cat"},
    ],
)
def test_every_form_of_a_conversation_is_read(make, values) -> None:
    task, _, contract = make("text-generation", "messages", fields={"messages": "chat"})
    assert task.read(values, contract) == {"messages": [USER]}


def test_a_system_message_of_its_own_column_comes_first(make) -> None:
    task, _, contract = make("text-generation", "messages", fields={"messages": "chat"})
    values = {"chat": [{"from": "human", "value": "the cat"}], "system": "be kind"}
    kind = {"role": "system", "content": "be kind"}
    assert task.read(values, contract) == {"messages": [kind, USER]}
    asked = {"instruction": "the cat", "system": "be kind"}
    assert task.read(asked, contract) == {"messages": [kind, USER]}


@pytest.mark.parametrize("value", ["hello", [{"from": "nobody", "value": "x"}], [{"a": 1}], [3]])
def test_what_is_no_conversation_is_said(make, value) -> None:
    task, _, contract = make("text-generation", "messages")
    with pytest.raises(InputError) as error:
        task.read({"messages": value}, contract)
    assert error.value.code == "TASK-012"


def test_a_conversation_needs_somebody_to_answer(make) -> None:
    task, tokenizer, contract = make("text-generation", "messages")
    row = {"messages": [{"role": "assistant", "content": "hello"}]}
    with pytest.raises(InputError) as error:
        task.encode_input(row, tokenizer, contract)
    assert error.value.code == "TASK-013"


def test_texts_are_cleaned_at_the_door_and_only_there(make) -> None:
    html = {"preprocessing": [{"kind": "html"}]}
    # Cleaned twice, this would lose its tag: a dataset's rows are clean already.
    raw, once = "&amp;lt;b&amp;gt;ok", "&lt;b&gt;ok"
    for name, row_type, values, row in [
        ("text-generation", "text", {"prompt": raw}, {"text": once}),
        (
            "text-generation",
            "messages",
            {"prompt": raw},
            {"messages": [{"role": "user", "content": once}]},
        ),
        ("seq2seq", "pair", {"input": raw}, {"input": once}),
        ("text-classification", "classification", {"text": raw}, {"text": once}),
        ("token-classification", "tags", {"tokens": [raw]}, {"tokens": [once]}),
    ]:
        frame = FRAME if "classification" in name else {}
        task, tokenizer, contract = make(name, row_type, **frame)
        contract = contract.model_copy(update=html)
        assert task.read(values, contract) == row
        read = task.encode_input(row, tokenizer, contract)
        plain = task.encode_input(row, tokenizer, contract.model_copy(update={"preprocessing": []}))
        assert read.input_ids_T.tolist() == plain.input_ids_T.tolist()


def test_a_pair_needs_its_second_text(make) -> None:
    fields = {"text": "premise", "text_pair": "claim"}
    task, _, contract = make("text-classification", "classification", fields=fields, **FRAME)
    with pytest.raises(InputError, match="claim") as error:
        task.read({"premise": "the cat"}, contract)
    assert error.value.code == "TASK-003"
    both = {"premise": "the cat", "claim": "sat"}
    assert task.read(both, contract) == {"text": "the cat", "text_pair": "sat"}
    # A model of single texts is not given a second one.
    task, _, single = make("text-classification", "classification", **FRAME)
    assert task.read({"text": "a", "text_pair": "b"}, single) == {"text": "a"}


@pytest.mark.parametrize(
    ("name", "row_type", "values"),
    [
        ("text-classification", "classification", {"text": ""}),
        ("text-classification", "classification", {"text": " \n\u3000"}),
        ("text-classification", "classification", {"text": "<br>"}),
        ("seq2seq", "pair", {"input": " "}),
        ("token-classification", "tags", {"tokens": []}),
        ("token-classification", "tags", {"tokens": ["", " "]}),
        ("token-classification", "tags", {"text": " "}),
    ],
)
def test_a_blank_input_is_a_missing_one(make, name, row_type, values) -> None:
    task, _, contract = make(name, row_type, **({} if name == "seq2seq" else FRAME))
    contract = contract.model_copy(update={"preprocessing": [{"kind": "html"}]})
    with pytest.raises(InputError) as error:
        task.read({**values, "id": 7}, contract)
    assert error.value.code == "TASK-003"
    assert error.value.values["found"] == "id"


def test_a_pair_needs_both_texts_and_a_text_may_begin_from_nothing(make) -> None:
    fields = {"text": "premise", "text_pair": "claim"}
    task, _, contract = make("text-classification", "classification", fields=fields, **FRAME)
    with pytest.raises(InputError, match="claim") as error:
        task.read({"premise": "the cat", "claim": " "}, contract)
    assert error.value.values["found"] == "premise"
    task, _, contract = make("text-generation", "text")
    assert task.read({"prompt": ""}, contract) == {"text": ""}
