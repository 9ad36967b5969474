"""What is learned: exactly the tokens that the model is to write, its stop token included."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.task import IGNORE, Output


def learned(example, tokenizer) -> str:
    """Return the text under the loss, special tokens shown."""
    return tokenizer.decode(example.labels[example.labels != IGNORE])


CHAT = {
    "messages": [
        {"role": "system", "content": "no"},
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "sat on"},
        {"role": "user", "content": "the mat"},
        {"role": "assistant", "content": "ok"},
    ]
}
WITHOUT_MARKS = (
    "{% for m in messages %}{{ bos_token }}{{ m.role }}\n{{ m.content | trim }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
)
# Drops the system message and joins turns in another way, as some published templates do.
INSTRUCTION = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}Q: {{ m.content }} A:"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("template", [None, WITHOUT_MARKS, INSTRUCTION])
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_only_the_assistant_is_learned_with_its_stop_token(make, template, kind) -> None:
    options = {} if template is None else {"template": template}
    task, tokenizer, contract = make("text-generation", "messages", kind=kind, **options)
    contract = contract.model_copy(update={"max_length": 500})
    example = task.encode(CHAT, tokenizer, contract)
    # A piece that begins with the space before an answer is part of the answer.
    text = learned(example, tokenizer).replace("> ", ">").strip()
    assert text == "sat on<eos>ok<eos>"
    assert contract.stop_token_ids == [tokenizer.eos_token_id]
    assert contract.chat_template_sha256


@pytest.mark.parametrize("template", [None, WITHOUT_MARKS, INSTRUCTION])
def test_an_answer_that_the_row_leaves_out_is_read_only(make, template) -> None:
    options = {} if template is None else {"template": template}
    task, tokenizer, contract = make("text-generation", "messages", max_length=500, **options)
    whole = task.encode(CHAT, tokenizer, contract)
    row = {**CHAT, "learn": [False, False, False, False, True]}
    example = task.encode(row, tokenizer, contract)
    assert example.input_ids_T.tolist() == whole.input_ids_T.tolist()
    assert learned(example, tokenizer).strip() == "ok<eos>"


@pytest.mark.parametrize("template", [None, WITHOUT_MARKS, INSTRUCTION])
def test_inference_reads_what_training_read_before_the_answer(make, template) -> None:
    options = {} if template is None else {"template": template}
    task, tokenizer, contract = make("text-generation", "messages", max_length=500, **options)
    whole = task.encode(CHAT, tokenizer, contract)
    prompt = task.encode_input(CHAT, tokenizer, contract)
    size = len(prompt.input_ids_T)
    assert whole.input_ids_T[:size].tolist() == prompt.input_ids_T.tolist()
    answer = whole.labels[size:]
    assert tokenizer.decode(answer[answer != IGNORE]).strip() == "ok<eos>"


# Writes an empty thought before the last answer that the prompt does not hold, as Qwen3's does.
THINKING = (
    "{% for m in messages %}{{ bos_token }}{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}[]{% endif %}{{ m.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
)


def test_what_the_prompt_does_not_hold_is_learned(make) -> None:
    task, tokenizer, contract = make(
        "text-generation", "messages", template=THINKING, max_length=500
    )
    whole = task.encode(CHAT, tokenizer, contract)
    size = len(task.encode_input(CHAT, tokenizer, contract).input_ids_T)
    assert (whole.labels[size:-1] != IGNORE).all()
    assert len(whole.input_ids_T) - 1 - size == len(tokenizer.tokenize("[]ok")) + 1
    first = tokenizer.decode(whole.labels[:size][whole.labels[:size] != IGNORE])
    assert first == "sat on<eos>"


def test_content_that_looks_like_the_template_is_no_answer(make) -> None:
    task, tokenizer, contract = make(
        "text-generation", "messages", template=WITHOUT_MARKS, max_length=500
    )
    row = {
        "messages": [
            {"role": "user", "content": "ok"},
            {"role": "assistant", "content": "ok"},
            {"role": "user", "content": "ok"},
        ]
    }
    example = task.encode(row, tokenizer, contract)
    assert learned(example, tokenizer) == "ok<eos>"
    # It is the second of the three.
    assert np.flatnonzero(example.labels != IGNORE)[0] > len("<user\nok") + 5


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "TASK-006"),
        ("{% for m in messages %}{{ m.content | upper }}{{ eos_token }}{% endfor %}", "TASK-007"),
        ("{{ raise_exception('no roles') }}", "TASK-009"),
        # What a hostile model folder may try, and what any program may do by mistake.
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "TASK-009"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "TASK-009"),
        ("{% set _ = messages.append(1) %}", "TASK-009"),
        ("{{ 1 // 0 }}", "TASK-009"),
        ("{% for _ in range(10 ** 9) %}{% endfor %}", "TASK-009"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "TASK-009"),
        (None, "TASK-005"),
    ],
)
def test_templates_that_cannot_be_learned_are_refused(make, template, code) -> None:
    def build():
        task, tokenizer, contract = make("text-generation", "messages", template=template)
        task.encode(CHAT, tokenizer, contract)

    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.code == code


def test_a_prompt_alone_is_what_the_user_says(make) -> None:
    task, tokenizer, contract = make("text-generation", "messages", max_length=500)
    asked = task.encode_input(task.read({"prompt": "the cat"}, contract), tokenizer, contract)
    row = {"messages": [{"role": "user", "content": "the cat"}]}
    assert (
        asked.input_ids_T.tolist()
        == task.encode_input(row, tokenizer, contract).input_ids_T.tolist()
    )
    assert tokenizer.decode(asked.input_ids_T) == "<bos>user\nthe cat<eos>\n<bos>assistant\n"


def test_completion_is_learned_and_the_prompt_is_not(make) -> None:
    task, tokenizer, contract = make("text-generation", "pair", fields={"input": "question"})
    row = {"input": "the cat", "target": " sat"}
    example = task.encode(row, tokenizer, contract)
    assert tokenizer.decode(example.input_ids_T) == "<bos>the cat sat<eos>"
    assert learned(example, tokenizer) == " sat<eos>"
    prompt = task.encode_input(task.read({"question": "the cat"}, contract), tokenizer, contract)
    assert tokenizer.decode(prompt.input_ids_T) == "<bos>the cat"
    assert task.reference(row) == " sat"


def test_a_long_pair_keeps_room_for_prompt_and_completion(make) -> None:
    task, tokenizer, contract = make("text-generation", "pair", max_length=10)
    short_answer = task.encode({"input": "0123456789", "target": "ok"}, tokenizer, contract)
    assert tokenizer.decode(short_answer.input_ids_T) == "3456789ok<eos>"
    assert learned(short_answer, tokenizer) == "ok<eos>"
    both_long = task.encode({"input": "0123456789", "target": "9876543210"}, tokenizer, contract)
    assert tokenizer.decode(both_long.input_ids_T) == "5678998765"
    assert both_long.truncated
    assert short_answer.truncated


def test_windows_score_every_token_once(make) -> None:
    task, tokenizer, contract = make("text-generation", "text", max_length=8)
    row = {"text": "the cat sat on the mat"}
    document = task.document(row, tokenizer, contract)
    scored = []
    for example in task.encode_parts(row, tokenizer, contract):
        assert len(example.input_ids_T) <= 8
        scored += example.labels[1:].tolist()
    assert scored == document[1:].tolist()
    assert tokenizer.decode(document) == "<bos>the cat sat on the mat<eos>"


def test_long_streams_have_no_begin_token(make) -> None:
    task, tokenizer, contract = make("text-generation", "text", long_texts=True)
    row = {"text": "the cat"}
    assert tokenizer.decode(task.document(row, tokenizer, contract)) == "the cat<eos>"
    prompt = task.encode_input({"text": "the"}, tokenizer, contract)
    assert tokenizer.decode(prompt.input_ids_T) == "the"
    # Nothing to continue: a new text begins where another ended.
    empty = task.encode_input({"text": ""}, tokenizer, contract)
    assert tokenizer.decode(empty.input_ids_T) == "<eos>"


def test_a_long_prompt_loses_its_start(make) -> None:
    task, tokenizer, contract = make("text-generation", "text", max_length=6)
    prompt = task.encode_input({"text": "0123456789"}, tokenizer, contract)
    assert tokenizer.decode(prompt.input_ids_T) == "56789"
    assert prompt.truncated


def test_batches_are_padded_on_the_right(make) -> None:
    task, tokenizer, contract = make("text-generation", "pair")
    rows = [{"input": "the", "target": "cat"}, {"input": "0", "target": "1"}]
    batch = task.collate([task.encode(row, tokenizer, contract) for row in rows], contract)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 8)
    assert batch["attention_mask"].tolist() == [[1] * 8, [1] * 4 + [0] * 4]
    assert (batch["input_ids"][1, 4:] == tokenizer.pad_token_id).all()
    assert (batch["labels"][1, 4:] == IGNORE).all()
    only_inputs = task.collate([task.encode_input(rows[0], tokenizer, contract)], contract)
    assert "labels" not in only_inputs


def test_answer_leaves_special_tokens_out(make) -> None:
    task, tokenizer, contract = make("text-generation", "text")
    ids = tokenizer("ok cat").input_ids + [tokenizer.eos_token_id]
    answer = task.answer(Output(token_ids=ids, finish_reason="stop"), {}, tokenizer, contract)
    assert answer == {"text": "ok cat", "finish_reason": "stop"}


def test_jieba_words_are_cut_in_training_and_at_inference(make) -> None:
    task, tokenizer, contract = make("text-generation", "pair", kind="jieba")
    assert contract.text_steps == [{"kind": "jieba"}]
    example = task.encode({"input": "今天天气", "target": "很好"}, tokenizer, contract)
    prompt = task.encode_input({"input": "今天天气"}, tokenizer, contract)
    assert example.input_ids_T[: len(prompt.input_ids_T)].tolist() == prompt.input_ids_T.tolist()
    assert tokenizer.unk_token_id not in prompt.input_ids_T
