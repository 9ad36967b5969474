"""An adapter over a served model: another name, the same weights and the same thread."""

from __future__ import annotations

import itertools
import logging

from llmwright.core.artifacts import Artifact, refuse_changed
from llmwright.core.errors import CheckError, LLMwrightError
from llmwright.inference.engines.opening import open_contract
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.sound import MAX_HASHED_BYTES
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.offer import Offer
from llmwright.serving.served.probing import Proof, examples
from llmwright.serving.served.source import created
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.worker import Worker

LOGGER = logging.getLogger("llmwright.serving")
_NUMBERS = itertools.count()


class HostedAdapter(Hosted):
    """One adapter of a server.

    Args:
        name: What clients call it.
        artifact: The adapter.
        base: The model that it is loaded over.
        config: Limits.
        metrics: The server's.

    Raises:
        CheckError, InputError: It has no readable contract (`open_contract`).
    """

    def __init__(
        self,
        name: str,
        artifact: Artifact,
        base: Hosted,
        config: ServeConfig,
        metrics: Metrics,
    ) -> None:
        contract = open_contract(artifact.path)
        offer = Offer(contract, name, artifact.id, "adapter", created(artifact))
        super().__init__(offer, config, metrics)
        self.base = base
        self.parent = base.name
        self._folder = artifact.path
        # Its own in the engine, so that one that is to replace another can be tried beside it.
        self._held_as = f"{name}@{next(_NUMBERS)}"

    @property
    def worker(self) -> Worker:
        """What takes jobs for it: its model's."""
        if self._model is None:
            raise self.away()
        return self.base.worker

    def attach(self, base: ServedModel) -> None:
        """Load the adapter over a model and let it answer its first probes.

        Called in the model's thread.

        Raises:
            ApiError: It does not answer as it did after training (400).
            LLMwrightError: It is damaged, or was trained on another model.
        """
        try:
            refuse_changed(self._folder, MAX_HASHED_BYTES)
            predictor = self._proven(base)
        except CheckError as error:
            raise ApiError(400, "adapter_differs", name=self.name, reason=error.message) from error
        model = ServedModel(
            predictor, self.name, self.offer.artifact, self.offer.kind, self.offer.created
        )
        self.examples = examples(model)
        self._model = model
        self._become("ready")

    def _proven(self, base: ServedModel) -> Predictor:
        """Return what answers through the adapter, its first probes answered."""
        predictor = base.predictor.with_adapter(self._held_as, self._folder)
        try:
            self._proof = Proof(predictor)
            self._proof.begin(self._config.num_probes)
        except BaseException:
            predictor.close()
            raise
        return predictor

    def attach_again(self, base: ServedModel) -> None:
        """Load the adapter over its model, which was loaded anew; a failure is told in its card."""
        try:
            self.attach(base)
        except Exception as error:  # its model goes on without it
            LOGGER.warning("The adapter %s could not be loaded again: %s", self.name, error)
            self.problem = (
                error.code if isinstance(error, ApiError | LLMwrightError) else "internal"
            )
            self._become("failed")

    def detach(self) -> None:
        """Answer no more, since the model is unloaded."""
        self._model = None
        self._proof.end()
        if self.state == "ready":
            self._become("unloaded")

    def remove(self) -> None:
        """Give the adapter's memory back. Called in the model's thread."""
        if self._model is not None:
            self._model.close()
        self.detach()
