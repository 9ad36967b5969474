"""No route passes a guard by: each that reads texts refuses a listed word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmwright.knowledge.config import KnowledgeConfig
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig, WordsGuard
from llmwright.serving.guards.guarding import build
from llmwright.serving.server import background
from llmwright.serving.work.library import Library

Server = Callable[..., Any]
WORD = "hello"
TURNS = [{"role": "user", "content": "well, Hello!"}]
TEXT = "well, hello!"
# Each route that reads texts → a body with the word in it.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": TEXT},
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/embeddings": {"input": ["fine", TEXT]},
    "/v1/classify": {"input": TEXT},
    "/v1/tag": {"input": [["well", "hello"]]},
    "/v1/seq2seq": {"input": TEXT},
    "/v1/rerank": {"query": "fine", "documents": ["fine", TEXT]},
    "/tokenize": {"prompt": TEXT},
}
GENERATE = {"weather": "description", "intents": "question", "names": "text"}
# What holds no text, or only an administrator may ask.
OTHERS = {"/detokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"}


@pytest.mark.parametrize("name", ["talk", "poems", "weather", "intents", "names"])
def test_each_route_that_reads_texts_refuses_a_listed_word(server: Server, name: str) -> None:
    guards = build([WordsGuard(words=[WORD])], Path(), Path)
    with server(name, guards=guards) as client:
        document = client.get("/openapi.json").json()
        asked = {path for path, methods in document["paths"].items() if "post" in methods}
        bodies = {**BODIES, "/generate": {GENERATE.get(name, "prompt"): TEXT}}
        assert asked - OTHERS <= set(bodies), "a new route needs a body here"
        for path in sorted(asked - OTHERS):
            reply = client.post(path, json=bodies[path])
            assert reply.status_code == 400, (path, reply.text)
            assert reply.json()["error"]["code"] == "content_blocked", (path, reply.text)


def test_questions_to_documents_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text("The shop opens at nine.", encoding="utf-8")
    knowledge = KnowledgeConfig(folder="docs")
    config = ServeConfig(port=0, access_log=False, knowledge=knowledge)
    library = Library(knowledge, tmp_path, tmp_path / ".llmwright")
    guards = build([WordsGuard(words=[WORD])], Path(), Path)
    app = create_app([], config, guards=guards, library=library)
    with background(app, config) as address:
        for path, field in (("/v1/search", "query"), ("/v1/answer", "question")):
            for text, status in ((TEXT, 400), ("when does the shop open?", 200)):
                reply = httpx.post(f"{address}{path}", json={field: text}, trust_env=False)
                assert reply.status_code == status, (path, reply.text)
                assert status == 200 or reply.json()["error"]["code"] == "content_blocked"
