from __future__ import annotations

import base64
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from llmwright.core.errors import ConfigError
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys, read_keys, scope_of
from llmwright.serving.door.keys import create_key, revoke_key


def bearer(key: str) -> Headers:
    return Headers({"authorization": f"Bearer {key}"})


def opens(keys: Keys, key: str) -> bool:
    return keys.holder(bearer(key)) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_needs_no_key(host: str, tmp_path: Path) -> None:
    keys = read_keys(ServeConfig(host=host), tmp_path)
    assert not keys
    anybody = keys.holder(Headers({}))
    assert anybody is not None
    assert not anybody.opens("admin")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_any_other_address_needs_one(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SERVE-001"):
        read_keys(ServeConfig(host=host), tmp_path)
    assert opens(read_keys(ServeConfig(host=host, api_key="secret"), tmp_path), "secret")


def test_keys_come_from_a_file_too(tmp_path: Path) -> None:
    content = "# for the phone app\nfirst key # Alice\n\n  # nobody\n  second#1  \n"
    (tmp_path / "keys").write_text(content, "utf-8")
    config = ServeConfig(host="0.0.0.0", api_key="third", api_key_file=Path("keys"))
    keys = read_keys(config, tmp_path)
    assert len(keys) == 3
    for key, name in (("third", "api_key"), ("first key", "line-2"), ("second#1", "line-5")):
        holder = keys.holder(bearer(key))
        assert holder is not None
        assert holder.id == name
        assert not holder.opens("admin")
    assert not opens(keys, "# for the phone app")


def test_useless_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n\n", "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "chinese").write_text("secret\n密钥\n", "utf-8")
    (tmp_path / "other.json").write_text('{"keys": [{"id": "x"}]}', "utf-8")
    for values, reason in (
        ({"api_key": " "}, "it is empty"),
        ({"api_key": "clé"}, "api_key has characters other than ASCII"),
        ({"api_key_file": "missing"}, "No such file"),
        ({"api_key_file": "empty"}, "empty has no key in it"),
        ({"api_key_file": "binary"}, "invalid start byte"),
        ({"api_key_file": "chinese"}, "chinese:2 has characters other than ASCII"),
        ({"api_key_file": "other.json"}, "other.json is no file of keys"),
    ):
        with pytest.raises(ConfigError, match=f"SERVE-004.*{reason}"):
            read_keys(ServeConfig.model_validate(values), tmp_path)


def test_a_recorded_config_does_not_hold_the_key() -> None:
    config = ServeConfig(api_key="secret")
    assert "secret" not in str(config.model_dump(mode="json"))
    assert "secret" not in repr(config)


def test_keys_are_kept_as_hashes() -> None:
    keys = Keys({"a": "secret"})
    assert "secret" not in repr(vars(keys))
    assert opens(keys, "secret")
    assert not opens(keys, "secret2")
    assert keys.holder(Headers({})) is None
    basic = base64.b64encode(b"me:secret").decode()
    assert keys.holder(Headers({"authorization": f"Basic {basic}"})) is not None


def test_a_revoked_key_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    kept, first = create_key("kept", file=file)
    gone, second = create_key("gone", file=file)
    keys = Keys(file=file)
    assert opens(keys, first)
    assert opens(keys, second)
    revoke_key(gone.id, file=file)
    assert not opens(keys, second)
    assert opens(keys, first)
    _, third = create_key("new", file=file)
    assert opens(keys, third)
    assert len(keys) == 2


@pytest.mark.parametrize("content", [None, "{", '{"version": 9}'])
def test_a_file_that_cannot_be_read_opens_nothing(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys.json"
    _, plain = create_key("app", file=file)
    keys = Keys({"own": "mine"}, file)
    before = file.read_text("utf-8")
    file.unlink()
    if content is not None:
        file.write_text(content, "utf-8")
    assert not opens(keys, plain)
    assert keys.holder(Headers({})) is None, "the server must not open"
    assert opens(keys, "mine")
    file.write_text(before, "utf-8")
    assert opens(keys, plain)


def test_scopes_of_routes() -> None:
    assert scope_of("/metrics") == "metrics"
    assert scope_of("/admin/models") == "admin"
    assert scope_of("/administrators") == "infer"
    assert scope_of("/v1/completions") == "infer"
