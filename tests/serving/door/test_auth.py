from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from llmwright.core.errors import ConfigError
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys, read_keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_needs_no_key(host: str, tmp_path: Path) -> None:
    assert read_keys(ServeConfig(host=host), tmp_path) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_any_other_address_needs_one(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SERVE-001"):
        read_keys(ServeConfig(host=host), tmp_path)
    assert read_keys(ServeConfig(host=host, api_key="secret"), tmp_path) == ["secret"]


def test_keys_come_from_a_file_too(tmp_path: Path) -> None:
    content = "# for the phone app\nfirst key # Alice\n\n  # nobody\n  second#1  \n"
    (tmp_path / "keys").write_text(content, "utf-8")
    config = ServeConfig(host="0.0.0.0", api_key="third", api_key_file=Path("keys"))
    assert read_keys(config, tmp_path) == ["third", "first key", "second#1"]


def test_useless_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n\n", "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "chinese").write_text("secret\n密钥\n", "utf-8")
    for values, reason in (
        ({"api_key": " "}, "it is empty"),
        ({"api_key": "clé"}, "api_key has characters other than ASCII"),
        ({"api_key_file": "missing"}, "No such file"),
        ({"api_key_file": "empty"}, "empty has no key in it"),
        ({"api_key_file": "binary"}, "invalid start byte"),
        ({"api_key_file": "chinese"}, "chinese:2 has characters other than ASCII"),
    ):
        with pytest.raises(ConfigError, match=f"SERVE-004.*{reason}"):
            read_keys(ServeConfig.model_validate(values), tmp_path)


def test_a_recorded_config_does_not_hold_the_key() -> None:
    config = ServeConfig(api_key="secret")
    assert "secret" not in str(config.model_dump(mode="json"))
    assert "secret" not in repr(config)


def test_key_ids_are_no_keys() -> None:
    keys = Keys(["secret"])
    holder = keys.holder(Headers({"authorization": "bearer secret"}))
    assert holder is not None
    assert len(holder) == 8
    assert "secret" not in repr(vars(keys))
    assert keys.holder(Headers({"authorization": "Bearer secret2"})) is None
    assert keys.holder(Headers({})) is None
