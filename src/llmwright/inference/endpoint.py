"""A model behind an address: a server of LLMwright, or any that speaks OpenAI's protocol.

A server gives answers, no logits, so it is asked for those of the probes only (see `remote`).
"""

from __future__ import annotations

from typing import Any

import httpx

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.inference.remote.connection import TIMEOUT_SECONDS, Connection
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
# How each route is asked for the log-probability of every written token.
LOG_PROBS: dict[str, dict[str, Any]] = {COMPLETIONS: {"logprobs": 1}, CHAT: {"logprobs": True}}

LogProbs = list[tuple[str, float | None]]


class Endpoint(Connection):
    """Asks a server for the answers of a model whose contract is known here.

    Args:
        address: With or without ``/v1`` at its end.
        contract: What the model promises: names fields and tells which route to take.
        served_model: Name of the model; the first the server lists when not given.
        api_key: Sent as a bearer token.
        timeout_seconds: For one answer.

    Raises:
        InputError: As `Connection`.
    """

    def __init__(
        self,
        address: str,
        contract: Contract,
        served_model: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.contract = contract
        super().__init__(address, served_model, api_key, timeout_seconds)

    def ask(self, row: Row, max_new_tokens: int | None = None) -> dict[str, Any]:
        """Return the answer to one canonical row in the terms of `Task.answer`, greedily.

        A text comes with ``log_probs``, each token's text and natural log-probability, where the
        server gives them; one that refuses the request for them is asked again without.

        Raises:
            InputError: As the class, or the row is nothing to continue (``INFER-014``).
        """
        task = TASKS.get(self.contract.task)
        if task.embeds:
            return self._vector(row)
        if not task.generates:
            return self._generate(row, {})
        options = {"max_tokens": max_new_tokens, "temperature": 0.0}
        route, body = self._openai(row)
        if row.get("controls"):
            body["controls"] = row["controls"]
        body |= {"model": self.card["id"], **options}
        try:
            return self._text(route, {**body, **LOG_PROBS[route]})
        except InputError as error:
            if error.values.get("status") != httpx.codes.BAD_REQUEST:
                raise
        return self._generate(row, options) if self.is_ours else self._text(route, body)

    def _vector(self, row: Row) -> dict[str, Any]:
        """Ask any OpenAI-compatible server for a text's vector."""
        body = {"model": self.card["id"], "input": row["text"]}
        reply = self.fetch("POST", EMBEDDINGS, body)
        try:
            return {"embedding": [float(value) for value in reply["data"][0]["embedding"]]}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self.strange(EMBEDDINGS, reply) from error

    def _openai(self, row: Row) -> tuple[str, dict[str, Any]]:
        """Return route and body of a request to any OpenAI-compatible server."""
        if "messages" in row:
            return CHAT, {"messages": row["messages"]}
        return COMPLETIONS, {"prompt": row["input" if "input" in row else "text"]}

    def _text(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self.fetch("POST", route, body)
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            answer = {"text": str(text or ""), "finish_reason": choice.get("finish_reason")}
            if choice.get("logprobs"):
                answer["log_probs"] = _log_probs(choice["logprobs"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self.strange(route, reply) from error
        return answer

    def _generate(self, row: Row, options: dict[str, Any]) -> dict[str, Any]:
        """Ask a server of LLMwright under the model's own field names."""
        if not self.is_ours:
            raise InputError("INFER-014", url=self.address, fields=", ".join(row))
        names = self.contract.fields
        known = self.card.get("fields", {}).get("input", [])
        body = {names.get(column, column): value for column, value in row.items()}
        theirs = names.get("text", "text")
        if theirs in body and theirs not in known and "prompt" in known:
            # A text to go on from is a prompt, whatever its column was called.
            body["prompt"] = body.pop(theirs)
        reply = self.fetch("POST", "/generate", {**body, **options})
        outputs = self.card.get("fields", {}).get("output", [])
        back = {theirs: ours for ours, theirs in names.items()}
        try:
            if options:
                reason = reply.get("finish_reason", "stop")
                return {"text": reply[outputs[0]], "finish_reason": reason}
            return {back.get(name, name): value for name, value in reply.items()}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self.strange("/generate", reply) from error


def _log_probs(given: dict[str, Any]) -> LogProbs:
    """Return tokens and log-probabilities out of OpenAI's two forms."""
    if "token_logprobs" in given:
        pairs = list(zip(given["tokens"], given["token_logprobs"], strict=True))
    else:
        pairs = [(entry["token"], entry["logprob"]) for entry in given["content"] or []]
    return [(str(token), None if value is None else float(value)) for token, value in pairs]
