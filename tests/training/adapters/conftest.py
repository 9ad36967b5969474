"""One project with tiny trained models for all tests of adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.events import Event, Notice
from llmwright.testing import adapter as suite
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.train import train


class Place(suite.Bench):
    """A project that adapts tiny models."""

    said: list[str]

    def model(self, objective: str = "causal_lm") -> Artifact:
        return self.base(OBJECTIVES.get(objective).model_validate({}))

    def adapt(
        self,
        adapter: Any,
        model: Artifact | None = None,
        objective: str = "causal_lm",
        tokenizer: Artifact | None = None,
        spec: dict[str, Any] | None = None,
        **values: Any,
    ) -> Artifact:
        """Train an adapter for a few steps; `said` keeps the notices."""
        self.said = []
        kind = OBJECTIVES.get(objective).model_validate({})
        inputs = {"dataset": self.dataset(*suite.rows_of(kind))}
        settings = {"adapter": adapter, "max_steps": 3, "model": {"kind": "step"}, **values}
        if spec is not None:
            settings["model"] = spec
            tokenizer = tokenizer or self.tokenizer(kind.tasks[0])
        else:
            inputs["model.name"] = model or self.model(objective)
        if tokenizer is not None:
            inputs["tokenizer"] = tokenizer
            settings["tokenizer"] = str(tokenizer.path)
        count = len(list((self.root / "runs").iterdir()))
        return train(suite.settings(settings), inputs, self.run(f"run {count}", self._hear))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.said.append(event.text)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def refused() -> Callable[..., Any]:
    """Return what runs something that must be refused, and returns the error."""
    from llmwright.core.errors import LLMwrightError

    def run(code: str, work: Callable[[], Any]) -> LLMwrightError:
        with pytest.raises(LLMwrightError) as caught:
            work()
        assert caught.value.code == code, caught.value
        return caught.value

    return run


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
