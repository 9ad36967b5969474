"""`serve.styles`: told to chat models, refused where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError
from llmwright.serving.config import ServeConfig
from llmwright.serving.serve import sources_of

STYLES = {"tone": {"formal": "please be formal"}}


def test_styles_go_to_chat_models(artifacts: Callable[[str], Artifact], tmp_path: Path) -> None:
    config = ServeConfig(styles=STYLES, models={"w": "w"})
    inputs = {"model": artifacts("talk"), "models.w": artifacts("weather")}
    chat, weather = sources_of(config, inputs, tmp_path)
    assert chat.offer.card()["controls"] == {"tone": ["formal"]}
    assert weather.offer.card()["controls"] == {}
    # The loaded model is told, not only its card.
    model = chat.open()
    row = model.predictor.read({"prompt": "hello", "controls": {"tone": "formal"}})
    read = model.predictor.tokenizer.decode(model.predictor.encode(row).input_ids_T)
    assert "please be formal" in read
    model.close()


def test_styles_that_nobody_is_told_are_refused(
    artifacts: Callable[[str], Artifact], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        sources_of(ServeConfig(styles=STYLES), {"model": artifacts("weather")}, tmp_path)
    assert caught.value.code == "SERVE-018"
