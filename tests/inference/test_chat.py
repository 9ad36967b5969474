"""Conversations: what is sent along, and what is remembered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmwright.cli.main import cli
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError
from llmwright.inference.chat import Conversation
from llmwright.inference.predictor import Predictor
from llmwright.tasks.contract import Contract

Saved = Callable[[str], Path]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture
def chatty(saved: Saved, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(saved("decoder"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    contract = Contract.open(folder).model_copy(update={"row_type": "messages", "max_length": 64})
    contract.save(folder)
    return folder


def test_turns_are_sent_along(chatty: Path) -> None:
    predictor = Predictor.open(chatty)
    talk = Conversation(predictor, system="be kind", max_new_tokens=4)
    first = "".join(talk.say("hi"))
    second = "".join(talk.say("rain?"))
    turns = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "rain?"},
    ]
    expected = next(predictor.predict([{"messages": turns}], max_new_tokens=4))
    assert second == expected["text"]
    assert talk.messages == [*turns, {"role": "assistant", "content": second}]
    talk.reset()
    assert talk.messages == turns[:1]
    assert "".join(talk.say("hi")) == first


def test_a_broken_off_turn_is_forgotten(chatty: Path) -> None:
    talk = Conversation(Predictor.open(chatty), max_new_tokens=6)
    answer = talk.say("hi")
    next(answer)
    answer.close()
    assert talk.messages == []


def test_other_generators_answer_without_memory(saved: Saved) -> None:
    predictor = Predictor.open(saved("seq2seq"))
    talk = Conversation(predictor)
    assert "".join(talk.say("rain")) == "".join(talk.say("rain"))
    assert "".join(talk.say("rain")) == next(predictor.predict([{"input": "rain"}]))["text"]
    with pytest.raises(InputError) as error:
        Conversation(predictor, system="be kind")
    assert error.value.code == "INFER-019"


def test_a_classifier_cannot_talk(saved: Saved) -> None:
    with pytest.raises(InputError) as error:
        Conversation(Predictor.open(saved("classifier")))
    assert error.value.code == "INFER-005"


def test_a_program_talks_line_by_line(chatty: Path, tmp_path: Path) -> None:
    with Store(tmp_path / ".llmwright").draft("model") as draft:
        shutil.copytree(chatty, draft.path, dirs_exist_ok=True)
    assert draft.artifact is not None
    words = ["chat", "--json", "--max-new-tokens", "4", "--model", str(draft.artifact.path)]
    said = CliRunner().invoke(cli, [*words, "--project", str(tmp_path)], input="hi\n\nrain?\n")
    talk = Conversation(Predictor.open(chatty), max_new_tokens=4)
    expected = [{"text": "".join(talk.say(turn))} for turn in ("hi", "rain?")]
    assert [json.loads(line) for line in said.output.splitlines()] == expected
