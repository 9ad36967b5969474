"""The command with keys, guards, kept answers and traces, as an operator sets them up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.serving.conftest import process

from llmwright.core.artifacts import Artifact
from llmwright.serving.door.keys import create_key, revoke_key

PROJECT = """name: guarded
task: text-generation
serve:
  api_key_file: keys.json
  cache_bytes: 1000000
  guards:
    - {kind: words, file: blocked.txt}
    - {kind: words, name: seas, words: [海], looks_at: reply, action: mask}
    - {kind: classifier, model: %s, labels: [lost_card], threshold: 0.999, action: flag}
"""


@pytest.mark.slow
def test_a_protected_server_as_its_operator_sets_it_up(
    artifacts: Callable[[str], Artifact], tmp_path: Path
) -> None:
    project = PROJECT % json.dumps(str(artifacts("intents").path))
    (tmp_path / "llmwright.yaml").write_text(project, encoding="utf-8")
    (tmp_path / "blocked.txt").write_text("# not here\n坏词\nbad word\n", encoding="utf-8")
    keys = tmp_path / "keys.json"
    plain = create_key("app", file=keys, requests_per_minute=100)[1]
    with process(artifacts("poems"), tmp_path) as (address, server):
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/v1/models").status_code == 401
            client.headers["authorization"] = f"Bearer {plain}"
            for prompt in ("这里有坏词", "a BAD\nword!"):
                reply = client.post("/v1/completions", json={"prompt": prompt})
                assert reply.status_code == 400
                assert reply.json()["error"]["code"] == "content_blocked"
            body = {"prompt": "白日依山尽，", "max_tokens": 8, "temperature": 0}
            replies = [client.post("/v1/completions", json=body) for _ in range(2)]
            texts = [reply.json()["choices"][0]["text"] for reply in replies]
            assert texts[0] == texts[1]
            assert "海" not in texts[0]
            assert "*" in texts[0]
            assert [reply.headers["x-llmwright-cache"] for reply in replies] == ["miss", "hit"]
            assert replies[0].headers["x-llmwright-flagged"] == "seas"
            assert int(replies[1].headers["x-ratelimit-remaining-requests"]) < 100
            revoke_key("app", file=keys)
            assert client.get("/v1/models").status_code == 401
        server.terminate()
        output, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    assert plain not in output
    assert "山" not in output
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    asked = [line for line in lines if line["route"] == "/v1/completions"]
    assert [line.get("guards") for line in asked] == [["words"], ["words"], ["seas"], ["seas"]]
    assert asked[2]["first_token_ms"] > 0
    assert asked[3]["cache"] == "hit"
    assert len({line["key"] for line in asked}) == 1
