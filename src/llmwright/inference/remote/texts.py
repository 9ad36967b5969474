"""Text that goes through an engine as bytes: the tokenizer of servers whose own is not known here.

Each token is one byte, its id the byte's value. A conversation is written as JSON, so that what
arrives at the engine can be sent on as messages.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.inference.remote.writer import Dialect, Part, Request, ended, sampling
from llmwright.inference.writing.generation import Told
from llmwright.inference.writing.sampling import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
# Characters by which byte-level tokenizers write bytes; the others follow from 256 on.
VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))
# What stands for tokens of which only the text is known.
TEXT = -1
CHAT_TEMPLATE = "{{ messages | tojson }}"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer whose tokens are the bytes of a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    hidden = [byte for byte in range(256) if byte not in VISIBLE]
    shown = {byte: chr(byte) for byte in VISIBLE}
    shown |= {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    raw = Tokenizer(models.BPE({shown[byte]: byte for byte in range(256)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def text_of(ids_T: np.ndarray) -> str:
    """Return the text behind token ids that are bytes."""
    return bytes(ids_T.tolist()).decode(errors="replace")


class TextDialect(Dialect):
    """OpenAI's own: texts or messages go there, text comes back.

    Args:
        model: Name of the model there.
        route: ``/v1/completions`` or ``/v1/chat/completions``.
    """

    def __init__(self, model: str, route: str) -> None:
        self._model, self._route = model, route

    def request(self, prompt_T: np.ndarray, settings: Settings, place: int) -> Request:
        """Return route and body, as `Dialect.request` says."""
        body: dict[str, Any] = {
            "model": self._model,
            **sampling(settings, place),
        }
        text, count = text_of(prompt_T), settings.num_scores
        if self._route == CHAT:
            body["messages"] = json.loads(text)
            if count is not None:
                body |= {"logprobs": True, "top_logprobs": count}
        else:
            body["prompt"] = text
            if count is not None:
                body["logprobs"] = count
        return self._route, body

    def read(self, event: dict[str, Any], settings: Settings) -> Part:
        """Return what an event adds, as `Dialect.read` says."""
        if not event.get("choices"):
            return [], None
        choice = event["choices"][0]
        spoken = choice.get("delta", choice.get("message"))
        text = choice["text"] if spoken is None else spoken.get("content")
        text = str(text or "")
        finish = ended(choice.get("finish_reason"))
        if not text:
            return [], finish
        scores = log_probs_of(choice.get("logprobs"))
        if not scores:
            return [(TEXT, Told(text))], finish
        if "".join(token for token, _, _ in scores) != text:
            # Parts of characters came together: what they are together is said of the first.
            scores = [(text, *scores[0][1:])]
        return [(TEXT, Told(*each)) for each in scores], finish


Score = tuple[str, float | None, tuple[tuple[str, float], ...]]


def log_probs_of(given: dict[str, Any] | None) -> list[Score]:
    """Return tokens, their log-probabilities and the likeliest of their places.

    Both of OpenAI's forms are read: that of completions and that of conversations.
    """
    if not given:
        return []
    if "token_logprobs" in given:
        tokens, values = given["tokens"], given["token_logprobs"]
        tops = given.get("top_logprobs") or [{}] * len(tokens)
        found = zip(tokens, values, [_sorted(top or {}) for top in tops], strict=True)
        return [(str(token), value, top) for token, value, top in found]
    return [
        (
            str(entry["token"]),
            float(entry["logprob"]),
            _sorted({top["token"]: top["logprob"] for top in entry.get("top_logprobs") or []}),
        )
        for entry in given.get("content") or []
    ]


def _sorted(top: dict[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(top.items(), key=lambda item: -item[1]))
