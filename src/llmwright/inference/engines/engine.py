"""What an engine is: something that turns token ids into logits, at once or token by token.

Sampling, streaming, scoring and probes need nothing else, so they are written once, in numpy.

Shapes: B rows, T tokens, U target tokens, L labels, V vocabulary, D size of a token's vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.events import Emit, unheard
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch

Randoms = Sequence[np.random.Generator | None]
# The adapter that each row is answered through; None is the model alone.
AdapterNames = Sequence[str | None]


class Decoding(ABC):
    """Texts being written together.

    Attributes:
        logits_BV: Logits of each text's next token.
        room_B: How many tokens each text may still get before the model's context is full.
        joins: Whether more prompts can be read beside the texts being written.
    """

    logits_BV: np.ndarray
    room_B: np.ndarray
    joins: bool = False

    @abstractmethod
    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text and compute the logits of the next."""

    @abstractmethod
    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only, in this order; the others are finished.

        Where the engine `copies`, a row may be there several times.
        """

    def join(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> None:
        """Read more prompts; their rows come behind those that are there.

        Only asked where `joins`; arguments as `Engine.begin`.
        """
        raise TypeError(type(self).__name__)

    def close(self) -> None:
        """Give back what the texts still being written hold in the engine."""
        return


class Engine(ABC):
    """Runs one model.

    Attributes:
        name: Registered name.
        number_format: How weights are stored, which decides tolerances: ``float32``, ``int8`` …
        context: Most tokens a text may have, its prompt included (of seq2seq: the target alone);
            None where the model has no limit.
        folder: Where the model is.
        automatic: Whether it may be chosen without being asked for.
        lacks: Names of `sampling.Settings` that it cannot honour; they are refused, not dropped.
        gives_hidden: Whether `hidden` can be asked.
        max_texts: Most texts that can be written at the same time; None for no limit.
        max_tokens: Most tokens that all of them may have together; None for no limit.
        copies: Whether one prompt that was read can be gone on with as several texts: rows of
            `Decoding.keep` may then repeat.
        called: The model's name where it is not that of its folder.
    """

    name: ClassVar[str]
    automatic: ClassVar[bool] = True
    lacks: frozenset[str] = frozenset()
    number_format: str = "float32"
    context: int | None = None
    folder: Path
    gives_hidden: bool = False
    max_texts: int | None = None
    max_tokens: int | None = None
    copies: bool = False
    called: str = ""

    @property
    def prefix_cache(self) -> tuple[int, int]:
        """Prompt tokens looked for among those of earlier texts so far, and those found there.

        Both 0 where the engine does not keep what it has read.
        """
        return 0, 0

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that rows can be answered through."""
        return ()

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter over the model; texts that are being written go on as they began.

        Args:
            name: What rows call it; one that has the name already is replaced.
            folder: An adapter's artifact, trained on this very model.

        Raises:
            InputError: The engine loads none (``INFER-050``), or this one is damaged or does not
                belong to the model (``MODEL-050`` to ``MODEL-059``).
        """
        raise InputError("INFER-050", engine=self.name)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; texts that are being written through it go on.

        Raises:
            ConfigError: There is none of this name (``INFER-051``).
        """
        self.check_adapters([name])

    def check_adapters(self, names: AdapterNames) -> None:
        """Refuse names of adapters that are not loaded.

        Raises:
            ConfigError: There is none of this name (``INFER-051``).
        """
        for name in names:
            if name is not None and name not in self.adapters:
                hint = closest(name, self.adapters)
                raise ConfigError("INFER-051", where="adapter", name=name, hint=hint)

    def close(self) -> None:
        """Give the model's memory back; may be called twice, and nothing else afterwards."""
        return

    @classmethod
    @abstractmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder holds the files this engine runs."""

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> Engine:
        """Return the engine with the model of a folder loaded.

        Args:
            folder: Model or export.
            contract: The model's contract.
            emit: Is told how it goes, where that takes long.

        Raises:
            InputError: The files are missing, damaged or of another kind.
        """

    @abstractmethod
    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return all logits of a batch in one pass, in float32.

        Args:
            batch: As `Task.collate` makes it; right-padded.
            adapters: For each row the loaded adapter that answers it; the model alone if None.

        Returns:
            Classification (B, L); tagging (B, T, L); generation (B, T, V), where position t scores
            the token t + 1; seq2seq (B, U, V), where position u scores the target's token u.
        """

    def hidden(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return the last vector of each input token, (B, T, D) in float32; any at padding.

        Of an encoder-decoder those of the encoder.

        Args:
            batch: As `logits` takes it.
            adapters: As in `logits`.

        Raises:
            InputError: What is loaded does not give them (``INFER-060``).
        """
        raise InputError("INFER-060", path=self.folder, engine=self.name)

    @abstractmethod
    def begin(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> Decoding:
        """Read prompts and return the state from which their continuations are written.

        Args:
            prompts: Token ids of each prompt, not padded; in seq2seq what the encoder reads.
            randoms: For each row the source of what is random besides the tokens (the latent vector
                of a VAE); None where the text is written greedily.
            adapters: As in `logits`.
        """


class SamplingEngine(Engine):
    """An engine that chooses tokens by itself, and gives texts but no logits of all tokens."""

    @abstractmethod
    def writer(self) -> Any:
        """Return what writes texts, several at once: a `generation.TextWriter`."""

    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Refuse.

        Raises:
            InputError: It gives none (``INFER-053``).
        """
        raise InputError("INFER-053", engine=self.name)

    def begin(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> Decoding:
        """Refuse.

        Raises:
            InputError: It gives no logits (``INFER-053``).
        """
        raise InputError("INFER-053", engine=self.name)


def pad_left(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return prompts that end together, and the mask of their real tokens, each (B, T)."""
    width = max(len(prompt) for prompt in prompts)
    ids_BT = np.full((len(prompts), width), pad_id, dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, width - len(prompt) :] = prompt
        mask_BT[row, width - len(prompt) :] = 1
    return ids_BT, mask_BT


def pad_right(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs that begin together, and the mask of their real tokens, each (B, T)."""
    width = max(len(prompt) for prompt in prompts)
    ids_BT = np.full((len(prompts), width), pad_id, dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, : len(prompt)] = prompt
        mask_BT[row, : len(prompt)] = 1
    return ids_BT, mask_BT


def beside(one_BT: np.ndarray, other_BT: np.ndarray) -> np.ndarray:
    """Return two masks of left-padded rows as one, the narrower one padded further."""
    width = max(one_BT.shape[1], other_BT.shape[1])
    padded = [np.pad(m, ((0, 0), (width - m.shape[1], 0))) for m in (one_BT, other_BT)]
    return np.concatenate(padded)


def num_empty(mask_BT: np.ndarray) -> int:
    """Return how many first columns of left-padded rows nobody uses any more."""
    used = mask_BT.any(axis=0)
    return int(used.argmax()) if used.any() else 0


def positions(mask_BT: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the last ``count`` tokens, counted from each row's first real one."""
    places_BT = np.clip(np.cumsum(mask_BT, axis=1) - 1, 0, None)
    found: np.ndarray = places_BT[:, places_BT.shape[1] - count :]
    return found


def room_of(context: int | None, lengths: Sequence[int]) -> np.ndarray:
    """Return how many tokens still fit behind texts of these lengths, (B,)."""
    limit = np.iinfo(np.int64).max if context is None else context
    return limit - np.array(lengths, dtype=np.int64)
