"""Styles that a chat model is told."""

from __future__ import annotations

import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.contract import Contract
from llmwright.tasks.controls import told
from llmwright.tasks.reading import read_controls

CONTRACT = Contract(
    task="text-generation",
    row_type="messages",
    model_type="x",
    num_parameters=1,
    fields={"messages": "messages"},
    max_length=9,
    styles={"tone": {"formal": "Answer formally."}, "length": {"short": "Be brief."}},
)
USER = {"role": "user", "content": "hello"}


def test_styles_become_a_system_message() -> None:
    row = {"controls": {"tone": "formal", "length": "short"}}
    system = {"role": "system", "content": "Answer formally.\nBe brief."}
    assert told([USER], row, CONTRACT) == [system, USER]
    own = {"role": "system", "content": "You are a bank."}
    system = {"role": "system", "content": "You are a bank.\nAnswer formally.\nBe brief."}
    assert told([own, USER], row, CONTRACT) == [system, USER]


def test_nothing_is_said_where_nothing_is_asked() -> None:
    for row in ({}, {"controls": {"tone": "any"}}):
        assert told([USER], row, CONTRACT) == [USER]


def test_styles_are_checked_like_learned_ones() -> None:
    assert read_controls({"controls": {"tone": "formal"}}, CONTRACT) == {"tone": "formal"}
    with pytest.raises(InputError) as caught:
        read_controls({"controls": {"tone": "rude"}}, CONTRACT)
    assert caught.value.code == "TASK-031"
    both = CONTRACT.model_copy(update={"controls": {"mood": ["good"]}})
    assert both.choices() == {"tone": ["formal"], "length": ["short"], "mood": ["good"]}
