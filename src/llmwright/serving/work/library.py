"""The documents of a server: one thread that indexes, embeds and searches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from llmwright.core.artifacts import Artifact
from llmwright.inference.predictor import Predictor
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import encoder_of
from llmwright.knowledge.indexing import Reports, Silent, open_index
from llmwright.knowledge.search import Hit, Knowledge
from llmwright.serving.door.errors import ApiError
from llmwright.serving.work.thread import ModelThread

T = TypeVar("T")
RETRY_SECONDS = 2


class Library:
    """Documents that requests are answered from.

    Args:
        config: Which, and how they are searched.
        root: Where relative paths start.
        home: Where indexes are kept: the project's ``.llmwright``.
        encoder: The model that embeds them; None for words alone.
        reports: Is told how indexing goes.

    Attributes:
        knowledge: The documents; None until they are opened.
    """

    def __init__(
        self,
        config: KnowledgeConfig,
        root: Path,
        home: Path,
        encoder: Artifact | None = None,
        reports: Reports | None = None,
    ) -> None:
        self.config = config
        self.knowledge: Knowledge | None = None
        self._root, self._home = root, home
        self._encoder = encoder
        self._reports: Reports = reports or Silent()
        # An encoder answers only in the thread it was loaded in.
        self._thread = ModelThread()
        self._waiting = 0

    async def open(self) -> None:
        """Load the encoder and open the index, made or renewed where it has to be.

        Raises:
            LLMwrightError: As `open_index`, or the encoder cannot be loaded.
        """
        self.knowledge = await self._do(self._open)

    def _open(self) -> Knowledge:
        predictor = Predictor.open(self._encoder.path) if self._encoder else None
        encoder = encoder_of(predictor) if predictor else None
        index = open_index(self.config, self._root, self._home, encoder, self._reports)
        return Knowledge(index, self.config, encoder)

    async def search(
        self, question: str, count: int | None, seconds: float, most: int
    ) -> list[Hit]:
        """Return the passages that answer a question best, the best first.

        Args:
            question: The question.
            count: How many; the config's when None.
            seconds: Longest time to wait.
            most: How many may wait.

        Raises:
            ApiError: Too many wait, or the documents are not open yet (503); it takes too long
                (504).
        """
        if self.knowledge is None:
            raise ApiError(503, "documents_away", headers={"retry-after": str(RETRY_SECONDS)})
        if self._waiting >= most:
            headers = {"retry-after": str(RETRY_SECONDS)}
            raise ApiError(503, "queue_full", headers=headers, waiting=self._waiting)
        try:
            async with asyncio.timeout(seconds):
                return await self._do(partial(self.knowledge.search, question, count))
        except TimeoutError:
            raise ApiError(504, "timeout", seconds=f"{seconds:g}") from None

    def known(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return the passages that are good enough to answer from."""
        return [hit for hit in hits if hit.score >= self.config.min_score]

    async def _do(self, work: Callable[[], T]) -> T:
        future = self._thread.submit(work)
        self._waiting += 1
        # Counted until it is done: who stopped waiting does not make the thread free.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._waiting -= 1

    def card(self) -> dict[str, Any]:
        """Return what the pages tell about the documents."""
        knowledge = self.knowledge
        if knowledge is None:
            return {"documents": 0, "passages": 0}
        read = sum(bool(file.num_passages) for file in knowledge.index.files)
        return {"documents": read, "passages": len(knowledge.index)}

    def close(self) -> None:
        """End the thread."""
        self._thread.end()
