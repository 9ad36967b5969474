"""The profile counts what is there."""

from __future__ import annotations

import pytest

from llmwright.data.records import DatasetInfo
from llmwright.tasks import profile
from llmwright.tasks.profile import profile_of


@pytest.mark.parametrize("counted_at_once", [1, 6, 1 << 20])
def test_profile_of_a_classifier(make, counted_at_once, monkeypatch) -> None:
    monkeypatch.setattr(profile, "COUNTED_AT_ONCE", counted_at_once)
    task, tokenizer, contract = make(
        "text-classification", "classification", frame="cls_sep", labels=["a", "b"]
    )
    info = DatasetInfo(
        task="text-classification",
        row_type="classification",
        shape="classification",
        fields={},
        labels=["a", "b"],
    )
    rows = [{"text": "cat", "label": "a"}] * 3 + [{"text": "c~t ok", "label": "b"}]
    examples = [task.encode(row, tokenizer, contract) for row in rows]
    found = profile_of(info, rows, examples, tokenizer)
    assert found["rows"] == 4
    assert found["label_shares"] == {"a": 0.75, "b": 0.25}
    assert found["length_tokens"]["p50"] == 5
    assert found["length_tokens"]["max"] == 8
    # One of 23 tokens is unknown.
    assert found["unknown_rate"] == round(1 / 23, 6)
    assert found["vocabulary_used"] == len({*"cat ok"}) + 3


def test_profile_of_a_tagger_knows_characters_from_words(make) -> None:
    task, tokenizer, contract = make(
        "token-classification", "tags", frame="cls_sep", labels=["O", "L"]
    )
    info = DatasetInfo(
        task="token-classification",
        row_type="tags",
        shape="tags",
        fields={},
        labels=["L", "O"],
    )
    for tokens, kind in ((["今", "天"], "characters"), (["cat", "sat"], "words")):
        rows = [{"tokens": tokens, "tags": ["O", "L"]}]
        examples = [task.encode(row, tokenizer, contract) for row in rows]
        found = profile_of(info, rows, examples, tokenizer)
        assert found["words"] == kind
        assert found["label_shares"] == {"L": 0.5, "O": 0.5}
