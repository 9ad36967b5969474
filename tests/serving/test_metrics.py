"""Metrics: what the table declares is what ``/metrics`` shows and the guide lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.metrics import PREFIX, TABLE
from llmwright.serving.served.model import ServedModel

GUIDES = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(llmwright_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
TYPE = re.compile(r"^# TYPE (llmwright_\w+) (\w+)$", re.MULTILINE)


@pytest.mark.parametrize("name", ["operating.md", "operating.zh-CN.md"])
def test_the_guide_lists_every_metric(name: str) -> None:
    found = [
        (metric, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for metric, kind, labels in ROW.findall((GUIDES / name).read_text(encoding="utf-8"))
    ]
    assert found == [(PREFIX + each.name, each.kind, each.labels) for each in TABLE]


def test_the_page_shows_every_metric_and_no_other(weather: httpx.Client) -> None:
    shown = {
        # Each counter and histogram tells besides when it was made.
        (metric, kind)
        for metric, kind in TYPE.findall(weather.get("/metrics").text)
        if not metric.endswith("_created")
    }
    assert shown == {(PREFIX + each.name, each.kind) for each in TABLE}
    assert all(":" not in each.name for each in TABLE)


def test_all_plain_routes_are_counted_by_name(models: Callable[[str], ServedModel]) -> None:
    from llmwright.serving.app import _paths

    found = _paths(create_app(models("weather"), ServeConfig()))
    assert {"/generate", "/v1/completions", "/v1/load_lora_adapter", "/startupz", "/"} <= found
    assert not any("{" in path for path in found)
