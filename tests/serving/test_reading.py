"""The routes that answer texts: tags, numbers, rewards, masks, targets, vectors, ranks, tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from llmwright.serving.served.model import ServedModel

Models = Callable[[str], ServedModel]
Server = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(server: Server) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return what a route of a model answers; servers are kept."""
    open_servers: dict[str, Any] = {}
    clients: dict[str, httpx.Client] = {}

    def asked(name: str, route: str, status: int = 200, **body: Any) -> dict[str, Any]:
        if name not in clients:
            open_servers[name] = server(name)
            clients[name] = open_servers[name].__enter__()
        reply = clients[name].post(route, json=body)
        assert reply.status_code == status, reply.text
        found: dict[str, Any] = reply.json()
        return found

    yield asked
    for running in open_servers.values():
        running.__exit__(None, None, None)


Ask = Callable[..., dict[str, Any]]


def test_tags_say_where_they_stand(ask: Ask) -> None:
    text = "Ada  lives in\tLondon"
    reply = ask("names", "/v1/tag", input=[text, ["Bo", "saw", "Paris"]])
    first, second = reply["data"]
    assert first["tokens"] == ["Ada", "lives", "in", "London"]
    assert first["tags"] == ["B-PER", "O", "O", "B-LOC"]
    assert [text[start:end] for start, end in first["spans"]] == first["tokens"]
    told = [(one["label"], one["text"], one["start"], one["end"]) for one in first["entities"]]
    assert told == [("PER", "Ada", 0, 3), ("LOC", "London", 14, 20)]
    assert first["entities"][0]["score"] == first["scores"][0]
    assert "spans" not in second
    assert (second["entities"][1]["text"], second["entities"][1]["start"]) == ("Paris", 2)
    assert reply["usage"]["prompt_tokens"] > 0


def test_numbers_are_those_of_the_model(ask: Ask, models: Models) -> None:
    reply = ask("stars", "/v1/regress", input=["very good", "bad"])
    model = models("stars")
    rows = [model.text_row(text, None) for text in ("very good", "bad")]
    values = [one["value"] for one in model.predictor.predict(rows)]
    assert [one["value"] for one in reply["data"]] == values
    assert values[0] > values[1]
    assert ask("stars", "/v1/regress", 400, input="x", input_pair="y")["error"]["param"]


def test_rewards_are_those_of_the_model(ask: Ask, models: Models) -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi there"}]
    one = ask("judge", "/v1/reward", messages=turns)["data"]
    expected = next(models("judge").predictor.predict([{"messages": turns}]))["score"]
    assert one == [{"index": 0, "score": expected}]
    two = ask("judge", "/v1/reward", messages=[turns, turns])["data"]
    assert [entry["score"] for entry in two] == [expected, expected]
    assert ask("judge", "/v1/reward", 400, messages=turns[:1])["error"]["code"] == "TASK-022"


def test_masks_are_filled(ask: Ask) -> None:
    (entry,) = ask("masks", "/v1/fill", input="it is [MASK] cold", top_k=2)["data"]
    assert len(entry["fills"][0]) == 2
    assert "[MASK]" not in entry["text"]
    assert ask("masks", "/v1/fill", 400, input="no mask")["error"]["code"] == "TASK-020"


def test_texts_become_texts(ask: Ask) -> None:
    reply = ask("weather", "/v1/seq2seq", input=["今天下了大雨", "外面很冷"])
    assert [one["text"] for one in reply["data"]] == ["今天有大雨", "气温很低"]
    assert reply["usage"]["completion_tokens"] == 9
    cut = ask("weather", "/v1/seq2seq", input="外面很冷", max_tokens=2)["data"][0]
    assert (cut["text"], cut["finish_reason"]) == ("气温", "length")
    assert ask("poems", "/v1/seq2seq", 400, input="x")["error"]["code"] == "not_able"


def test_vectors_are_the_models_in_both_forms(ask: Ask, models: Models) -> None:
    texts = ["it is cold", "the card came"]
    reply = ask("vectors", "/v1/embeddings", input=texts)
    expected_ND = models("vectors").predictor.embed(texts)
    found_ND = np.array([one["embedding"] for one in reply["data"]], dtype=np.float32)
    assert np.abs(found_ND - expected_ND).max() < 1e-6
    assert [one["index"] for one in reply["data"]] == [0, 1]
    size = expected_ND.shape[1]
    packed = ask(
        "vectors", "/v1/embeddings", input=texts[0], encoding_format="base64", dimensions=size
    )
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert np.array_equal(np.frombuffer(raw, dtype="<f4"), found_ND[0])
    wrong = ask("vectors", "/v1/embeddings", 400, input="x", dimensions=size - 1)["error"]
    assert (wrong["code"], wrong["param"]) == ("dimensions", "dimensions")
    wrong = ask("vectors", "/v1/embeddings", 400, input="x", input_type="query")["error"]
    assert (wrong["code"], wrong["param"]) == ("no_input_type", "input_type")


def test_token_ids_have_the_vector_of_their_text(ask: Ask) -> None:
    ids = ask("vectors", "/tokenize", prompt="it is cold")["tokens"]
    by_ids = ask("vectors", "/v1/embeddings", input=[ids])["data"][0]["embedding"]
    by_text = ask("vectors", "/v1/embeddings", input="it is cold")["data"][0]["embedding"]
    assert by_ids == pytest.approx(by_text, abs=1e-6)


def test_any_model_that_reads_texts_has_vectors(ask: Ask) -> None:
    vectors = ask("intents", "/v1/embeddings", input=["where is my card", "x"])["data"]
    assert len(vectors[0]["embedding"]) == 32
    assert vectors[0]["embedding"] != vectors[1]["embedding"]


DOCUMENTS = ["the card came", {"text": "it is cold"}]


@pytest.mark.parametrize(
    ("name", "method"), [("pairs", "classifier"), ("judge", "reward"), ("vectors", "cosine")]
)
def test_documents_are_sorted(ask: Ask, name: str, method: str) -> None:
    asked = {"query": "is it cold", "documents": DOCUMENTS}
    reply = ask(name, "/v1/rerank", **asked, return_documents=True)
    assert reply["method"] == method
    scores = [one["relevance_score"] for one in reply["results"]]
    assert scores == sorted(scores, reverse=True)
    texts = ["the card came", "it is cold"]
    assert all(one["document"]["text"] == texts[one["index"]] for one in reply["results"])
    assert sorted(one["index"] for one in reply["results"]) == [0, 1]
    best = ask(name, "/v1/rerank", **asked, top_n=1)["results"]
    assert best == [{k: v for k, v in reply["results"][0].items() if k != "document"}]


def test_a_classifier_of_pairs_finds_the_document(ask: Ask) -> None:
    reply = ask("pairs", "/v1/rerank", query="is it cold", documents=DOCUMENTS)
    assert reply["label"] == "yes"
    assert reply["results"][0]["index"] == 1
    asked = {"query": "where is the card", "documents": DOCUMENTS}
    assert ask("pairs", "/v1/rerank", **asked)["results"][0]["index"] == 0


def test_cosines_are_those_of_the_vectors(ask: Ask, models: Models) -> None:
    reply = ask("vectors", "/v1/rerank", query="is it cold", documents=DOCUMENTS)
    query_D, *others = models("vectors").predictor.embed(
        ["is it cold", "the card came", "it is cold"]
    )
    for one in reply["results"]:
        expected = float(query_D @ others[one["index"]])
        assert one["relevance_score"] == pytest.approx(expected, abs=1e-5)


def test_tokens_are_what_the_model_reads(ask: Ask, models: Models) -> None:
    predictor = models("weather").predictor
    found = ask("weather", "/tokenize", prompt="今天下了大雨")
    row = predictor.read("今天下了大雨")
    assert found["tokens"] == predictor.encode(row).input_ids_T.tolist()
    assert found["token_strs"] == predictor.tokenizer.convert_ids_to_tokens(found["tokens"])
    assert (found["count"], found["max_model_len"]) == (7, 64)
    assert ask("weather", "/tokenize", prompt="今" * 200)["count"] == 201
    plain = ask("weather", "/tokenize", prompt="今天下了大雨", add_special_tokens=False)
    assert plain["tokens"] == found["tokens"][:-1]
    text = ask("weather", "/detokenize", tokens=plain["tokens"])["prompt"]
    assert text == "今天下了大雨"
    whole = ask("weather", "/detokenize", tokens=found["tokens"], skip_special_tokens=True)
    assert whole["prompt"] == text


@pytest.mark.parametrize("name", ["intents", "names", "masks", "poems", "pairs"])
def test_every_model_has_tokens(ask: Ask, name: str) -> None:
    assert ask(name, "/tokenize", prompt="a card")["count"] >= 6


def test_conversations_are_written_with_the_template(ask: Ask, models: Models) -> None:
    turns = [{"role": "user", "content": "hello"}]
    found = ask("talk", "/tokenize", messages=turns)
    predictor = models("talk").predictor
    row = predictor.read({"messages": turns})
    assert found["tokens"] == predictor.encode(row).input_ids_T.tolist()
    same = ask("talk", "/v1/completions", prompt=found["tokens"])["choices"][0]["text"]
    assert same == "hi there"
    assert ask("weather", "/tokenize", 400, messages=turns)["error"]["code"] == "no_chat"


@pytest.mark.parametrize(
    ("name", "route", "body", "code", "param"),
    [
        ("weather", "/tokenize", {}, "missing_field", "prompt"),
        ("weather", "/tokenize", {"prompt": "x", "messages": [{"role": "user", "content": "x"}]},
         "two_fields", "prompt"),
        ("weather", "/detokenize", {"tokens": [9_999_999]}, "unknown_token", "tokens"),
        ("weather", "/detokenize", {"tokens": [-1]}, "invalid_parameter", "tokens"),
        ("weather", "/v1/tag", {"input": "x"}, "not_able", None),
        ("weather", "/v1/regress", {"input": "x"}, "not_able", None),
        ("weather", "/v1/fill", {"input": "x"}, "not_able", None),
        ("weather", "/v1/reward", {"messages": [{"role": "user", "content": "x"}]}, "not_able",
         None),
        ("names", "/v1/tag", {"input": []}, "invalid_parameter", "input"),
        ("names", "/v1/tag", {"input": "x", "tools": 1}, "unsupported_parameter", "tools"),
        ("names", "/v1/tag", {"input": ["x"] * 300}, "too_many", "input"),
        ("vectors", "/v1/embeddings", {"input": []}, "invalid_parameter", "input"),
        ("vectors", "/v1/embeddings", {"input": ""}, "TASK-003", None),
        ("vectors", "/v1/embeddings", {"input": [[5], [9_999_999]]}, "unknown_token", "input"),
        ("vectors", "/v1/embeddings", {"input": "x", "encoding_format": "int8"},
         "invalid_parameter", "encoding_format"),
        ("vectors", "/v1/rerank", {"query": "x", "documents": []}, "invalid_parameter",
         "documents"),
        ("vectors", "/v1/rerank", {"query": "x", "documents": [{"title": "x"}]},
         "missing_parameter", "documents"),
        ("vectors", "/v1/rerank", {"query": "x", "documents": ["x"] * 300}, "too_many",
         "documents"),
        ("pairs", "/v1/classify", {"input": "x"}, "missing_parameter", "input_pair"),
        ("pairs", "/v1/classify", {"input": ["x"], "input_pair": ["y", "z"]}, "uneven_pairs",
         "input_pair"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_400_with_its_reason(
    ask: Ask, name: str, route: str, body: dict[str, Any], code: str, param: str | None
) -> None:
    error = ask(name, route, 400, **body)["error"]
    assert error["code"] == code, error
    assert param is None or error["param"].startswith(param)


def test_models_tell_their_routes(ask: Ask, models: Models) -> None:
    assert "/v1/rerank" in models("pairs").routes
    assert "/v1/tag" in models("names").routes
    assert ["/v1/embeddings" in models(name).routes for name in ("vectors", "weather")] == [
        True,
        False,
    ]
