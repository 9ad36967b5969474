"""The built-in pages and the OpenAPI document: nothing external, both languages, all sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmwright.core.artifacts import Artifact
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.routes import pages
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.source import source_of
from llmwright.serving.server import background
from llmwright.serving.work.library import Library

NAMES = ("weather", "intents", "names", "poems", "talk", "stars", "judge", "masks")
# Names of other standards inside the pages, which nothing is loaded from.
NAMESPACES = {"http://www.w3.org/2000/svg"}


def state_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="state">(.*?)</script>', page, re.S)
    assert found is not None
    state: dict[str, Any] = json.loads(found.group(1))
    return state


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(weather: httpx.Client, path: str) -> None:
    reply = weather.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    addresses = set(re.findall(r"https?://[^\s'\"<>)]+", reply.text))
    assert addresses <= NAMESPACES
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=[\"'](?!data:)", reply.text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy


def test_pages_hold_both_languages_and_the_models_fields(weather: httpx.Client) -> None:
    state = state_of(weather.get("/").text)
    assert set(state["texts"]["en"]) == set(state["texts"]["zh"])
    assert state["texts"]["zh"]["write_button"] == "生成"
    assert state["fields"]["needed"] == ["description"]
    assert state["model"]["id"] == "weather"


def test_each_of_several_models_has_a_page(artifacts: Callable[[str], Artifact]) -> None:
    sources = [source_of(artifacts(name), name, "torch", 4) for name in ("weather", "vectors")]
    config = ServeConfig(port=0, access_log=False, num_probes=0)
    with (
        background(create_app(sources, config), config) as address,
        httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
    ):
        first, other = state_of(client.get("/").text), state_of(client.get("/?model=vectors").text)
        assert first["models"] == other["models"] == ["weather", "vectors"]
        assert (first["title"], "write" in first["abilities"]) == ("weather", True)
        assert other["title"] == "vectors"
        assert "embed" in other["abilities"]
        # It was loaded for its page, and has examples to show.
        assert other["model"]["state"] == "ready"
        assert other["examples"]
        assert client.get("/?model=nobody").status_code == 404


def test_every_text_the_scripts_ask_for_exists() -> None:
    english = pages._texts("en")
    for name in ("shared.js", "similar.js", "play.js", "docs.js"):
        for key in re.findall(r"\bt\(\s*\"([\w.]+)\"", pages._read(name)):
            # Keys that end with a dot are completed with a task or a group.
            assert key in english or any(k.startswith(key) for k in english), f"{name}: {key}"


def test_a_model_name_cannot_break_out_of_the_page(
    server: Callable[..., Any], models: Callable[[str], ServedModel]
) -> None:
    hostile = ServedModel(models("weather").predictor, "</script><!--<script><b>x")
    with server("weather", model=hostile) as client:
        for path in ("/", "/docs"):
            page = client.get(path).text
            assert "<b>x" not in page
            assert "<!--<script>" not in page
            assert state_of(page)["model"]["id"] == "</script><!--<script><b>x"


def descriptions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "description" and isinstance(inner, str):
                yield inner
            yield from descriptions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from descriptions(inner)


def shown(document: dict[str, Any]) -> set[str]:
    """The sentences the page shows: of routes, answers, and the bodies' own fields."""
    found: set[str] = set()
    schemas = document["components"]["schemas"]

    def fields(schema: dict[str, Any]) -> None:
        named = schemas[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
        for field in named.get("properties", {}).values():
            found.update([field["description"]] if "description" in field else [])

    for methods in document["paths"].values():
        for operation in methods.values():
            first, *rest = operation["description"].split("\n\n")
            found |= {first.replace("\n", " "), " ".join(rest).replace("\n", " ")}
            for kind in operation.get("requestBody", {}).get("content", {}).values():
                fields(kind["schema"])
            for code, answer in operation["responses"].items():
                if code == "200":
                    fields(answer.get("content", {}).get("application/json", {}).get("schema", {}))
                else:
                    found.add(answer["description"])
    return found - {""}


def test_every_sentence_of_the_docs_page_is_known_in_chinese(
    models: Callable[[str], ServedModel], tmp_path: Path
) -> None:
    known = pages._descriptions()
    needed: set[str] = set()
    for name in NAMES:
        needed |= shown(create_app(models(name), ServeConfig()).openapi())
    knowledge = KnowledgeConfig(folder="docs")
    config = ServeConfig(knowledge=knowledge)
    library = Library(knowledge, tmp_path, tmp_path)
    needed |= shown(create_app([], config, library=library).openapi())
    assert needed - set(known) == set()


def test_document_lists_what_the_model_answers(
    weather: httpx.Client, intents: httpx.Client
) -> None:
    texts = weather.get("/openapi.json").json()
    assert "/v1/completions" in texts["paths"]
    assert "/v1/classify" not in texts["paths"]
    body = texts["paths"]["/generate"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["required"] == ["description"]
    labels = intents.get("/openapi.json").json()
    assert "/v1/classify" in labels["paths"]
    assert "/v1/completions" not in labels["paths"]
    assert "422" not in json.dumps(labels["paths"]["/v1/classify"]["post"]["responses"])


def test_document_says_that_a_key_is_needed(server: Callable[..., Any]) -> None:
    with server("weather", keys=["k"]) as client:
        document = client.get("/openapi.json", headers={"authorization": "Bearer k"}).json()
    assert document["security"] == [{"key": []}]


def test_model_list_tells_what_is_served(weather: httpx.Client) -> None:
    reply = weather.get("/v1/models").json()
    (card,) = reply["data"]
    assert reply["object"] == "list"
    assert card["fields"] == {"input": ["description"], "output": ["weather"]}
    own = ["/v1/completions", "/v1/seq2seq"]
    assert card["routes"] == ["/generate", *own, "/tokenize", "/detokenize"]
    assert card["probes"]["status"] == "passed"
    assert card["state"] == "ready"
    assert card["engine"] == "torch"
    again = weather.get("/v1/models/weather").json()
    assert {**again, "probes": None} == {**card, "probes": None}
