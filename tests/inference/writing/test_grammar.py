"""Texts that hold to a schema, whatever the model would rather write; hostile schemas are refused.

The models have random weights: nothing but the grammar makes JSON of what they write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.grammar import OBJECT, Grammars
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing

Saved = Callable[[str], Path]
CARD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "colour": {"enum": ["red", "green"]},
    },
    "required": ["name", "age", "colour"],
    "additionalProperties": False,
}
TEXTS = ['{"name": "Ada", "age": 12}', "0123456789 [] {} -.,:", "abcdefghijklmnopqrstuvwxyz"] * 9


@pytest.fixture(scope="module")
def predictor(saved: Saved) -> Predictor:
    return Predictor.open(saved("decoder"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sampled_texts_fulfil_the_schema(predictor: Predictor, seed: int) -> None:
    row = predictor.read("The weather")
    answer = next(
        predictor.predict([row], json_schema=CARD, temperature=1.5, seed=seed, max_new_tokens=200)
    )
    card = json.loads(answer["text"])
    assert list(card) == ["name", "age", "colour"]
    assert card["name"].isalpha()
    assert 0 <= card["age"] <= 150
    assert card["colour"] in ("red", "green")
    assert answer["finish_reason"] == "stop"


def test_streams_and_other_families_hold_to_it_too(saved: Saved) -> None:
    for name in ("seq2seq", "recurrent_decoder"):
        predictor = Predictor.open(saved(name))
        row = predictor.read("The weather")
        asked = {"json_schema": {"enum": ["red", "green"]}, "temperature": 1.0, "seed": 4}
        text = "".join(predictor.stream(row, **asked, max_new_tokens=30))
        assert json.loads(text) in ("red", "green")


def test_texts_beside_it_are_not_changed(predictor: Predictor) -> None:
    from llmwright.inference.writing.generation import write_all

    prompt = predictor.encode(predictor.read("The weather")).input_ids_T
    plain = predictor.settings(max_new_tokens=12)
    held = predictor.settings(max_new_tokens=40, json_schema=CARD)
    (alone,) = write_all(predictor.engine, [prompt], [plain])
    free, document = write_all(predictor.engine, [prompt, prompt], [plain, held])
    assert free == alone
    assert predictor.tokenizer.decode(document.token_ids).startswith("{")


def test_any_object_and_the_fewest_tokens(predictor: Predictor) -> None:
    row = predictor.read("x")
    # Random weights would write a name of any length.
    likely = dict.fromkeys(predictor.tokenizer.convert_tokens_to_ids(['"', "}", ":"]), 6.0)
    asked = {"json_schema": OBJECT, "temperature": 1.0, "seed": 5, "logit_bias": likely}
    text = next(predictor.predict([row], **asked, max_new_tokens=400))["text"]
    assert isinstance(json.loads(text), dict)
    # A document that is whole ends, however many tokens were asked for.
    short = {"json_schema": {"const": "a"}, "min_new_tokens": 20}
    assert next(predictor.predict([row], **short))["text"] == '"a"'


def test_fewest_tokens_put_off_the_end(predictor: Predictor) -> None:
    stop = predictor.contract.stop_token_ids[0]
    row = predictor.read("x")
    asked = {"logit_bias": {stop: 100.0}, "max_new_tokens": 30}
    assert next(predictor.predict_full([row], **asked)).num_output_tokens == 0
    found = next(predictor.predict_full([row], **asked, min_new_tokens=7))
    assert (found.num_output_tokens, found.answer["finish_reason"]) == (7, "stop")


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_our_tokenizers_can_write_it(kind: str) -> None:
    options = {} if kind == "char" else {"vocab_size": 350 if kind == "bpe" else 120}
    tokenizer = TOKENIZERS.get(kind)(TokenizeConfig(kind=kind, **options), TEXTS, Framing())
    grammar = Grammars(lambda: tokenizer, [tokenizer.eos_token_id]).compile(CARD)
    walk, ids = grammar.start(), []
    for _ in range(200):
        allowed_V = walk.allowed_V(len(tokenizer) + 5)
        assert not allowed_V[len(tokenizer) :].any()
        # The shortest way: of the tokens that may come, one that ends something first.
        ids.append(max(allowed_V.nonzero()[0].tolist(), key=lambda i: _closes(tokenizer, i)))
        walk.take(ids[-1])
        if walk.ended:
            break
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert json.loads(text)["colour"] in ("red", "green"), text


def _closes(tokenizer: Any, index: int) -> tuple[bool, int]:
    text = tokenizer.decode([index]).strip()
    return text[:1] in tuple('",:}'), index


def test_tokenizers_that_put_spaces_between_words_cannot() -> None:
    tokenizer = TOKENIZERS.get("word")(TokenizeConfig(kind="word"), TEXTS, Framing())
    with pytest.raises(InputError) as caught:
        Grammars(lambda: tokenizer, [1]).compile(OBJECT)
    assert caught.value.code == "INFER-073"


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ([], "INFER-071"),
        ({"type": "sausage"}, "INFER-071"),
        ({"not": {"type": "string"}}, "INFER-071"),
        ({"oneOf": [{"type": "string"}, {"const": "a"}]}, "INFER-071"),
        ({"$ref": "http://example.org/schema"}, "INFER-071"),
        ({"$ref": "#"}, "INFER-071"),
        ({"type": "string", "pattern": "(?=a)b"}, "INFER-071"),
        ({"properties": {f"k{i}": {"type": "string"} for i in range(2500)}}, "INFER-070"),
        ({"const": float("nan")}, "INFER-071"),
        (_nested(5000), "INFER-070"),
        ({"enum": ["x" * 70_000]}, "INFER-070"),
    ],
)
def test_schemas_that_cannot_be_followed_are_refused(
    predictor: Predictor, schema: Any, code: str
) -> None:
    with pytest.raises(InputError) as caught:
        predictor.settings(json_schema=schema)
    assert caught.value.code == code
    assert "state" not in str(caught.value)
    assert "Enable" not in str(caught.value)


def test_compiled_schemas_are_kept(predictor: Predictor) -> None:
    first = predictor.grammars.compile(CARD)
    assert predictor.grammars.compile(json.loads(json.dumps(CARD))) is first
