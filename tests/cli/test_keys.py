from __future__ import annotations

from pathlib import Path

from starlette.datastructures import Headers

from llmwright.serving.door.auth import Keys


def test_a_key_is_made_listed_and_taken_back(project: Path, llmwright) -> None:
    file = project / "keys.json"
    given = ["--file", str(file)]
    words = [
        "create",
        "phone app",
        "--scope",
        "infer",
        "--model",
        "m",
        "--requests-per-minute",
        "9",
    ]
    made = llmwright("keys", *words, *given, "--json").json
    assert (made["scopes"], made["models"], made["requests_per_minute"]) == (["infer"], ["m"], 9)
    headers = Headers({"authorization": f"Bearer {made['key']}"})
    keys = Keys(file=file)
    holder = keys.holder(headers)
    assert holder is not None
    assert holder.id == made["id"]
    listed = llmwright("keys", "list", *given)
    assert "phone app" in listed.out
    assert made["key"] not in listed.out + file.read_text("utf-8")
    assert llmwright("keys", "list", *given, "--json").json["keys"][0]["id"] == made["id"]
    assert llmwright("keys", "revoke", "phone app", *given).code == 0
    assert keys.holder(headers) is None
    assert "revoked" in llmwright("keys", "list", *given).out


def test_the_plain_key_alone_goes_to_stdout(project: Path, llmwright) -> None:
    said = llmwright("keys", "create", "app", "--file", str(project / "keys.json"))
    assert said.out.strip().startswith("llmw_")
    assert len(said.out.split()) == 1
    assert "--api-key-file" in said.err
