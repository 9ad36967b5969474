from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.keys import create_key, list_keys, revoke_key


def test_the_file_holds_no_key_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made, plain = create_key("phone", file=file, scopes=["admin", "infer"], models=["m"], days=1)
    content = file.read_text("utf-8")
    assert plain not in content
    assert plain.rpartition("_")[2] not in content
    assert os.name != "posix" or file.stat().st_mode & 0o077 == 0
    assert list_keys(file=file) == [made]
    assert made.scopes == ("infer", "admin")
    assert made.holds()
    assert made.allows("m")
    assert not made.allows("other")


def test_equal_keys_have_other_hashes_in_another_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        create_key("app", file=tmp_path / name)
    salts = {json.loads((tmp_path / name).read_text("utf-8"))["salt"] for name in ("a", "b")}
    assert len(salts) == 2


def test_expired_keys_hold_no_more(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, plain = create_key("app", file=file, days=3)
    content = json.loads(file.read_text("utf-8"))
    content["keys"][0]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    file.write_text(json.dumps(content), "utf-8")
    assert len(Keys({"own": "x"}, file)) == 1
    assert not list_keys(file=file)[0].holds()
    # Without a zone nobody knows when that is.
    content["keys"][0]["expires"] = "2030-01-01T00:00:00"
    file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ConfigError, match="SERVE-004.*expires"):
        list_keys(file=file)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="SERVE-010.*infer"):
        create_key("app", file=file, scopes=["infr"])
    for name in ("requests_per_minute", "tokens_per_minute", "max_concurrency", "days"):
        with pytest.raises(ConfigError, match=f"SERVE-011.*{name}"):
            create_key("app", file=file, **{name: 0})
    with pytest.raises(ConfigError, match="SERVE-004"):
        list_keys(file=file)


def test_revoking_needs_one_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    for _ in range(2):
        create_key("app", file=file)
    with pytest.raises(InputError, match="SERVE-012"):
        revoke_key("nobody", file=file)
    with pytest.raises(InputError, match="SERVE-012"):
        revoke_key("app", file=file)
    first = list_keys(file=file)[0]
    assert revoke_key(first.id, file=file).revoked
    assert revoke_key("app", file=file).id != first.id


def test_two_who_make_keys_lose_none(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    threads = [
        threading.Thread(target=create_key, args=(f"app-{n}",), kwargs={"file": file})
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in list_keys(file=file)) == [f"app-{n}" for n in range(8)]
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
