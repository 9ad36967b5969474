"""A model behind an address: a server of LLMwright, or any that speaks OpenAI's protocol.

A server gives answers, no logits, so it is asked for those of the probes only (see `remote`).
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from llmwright.core.errors import InputError, closest
from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS

TIMEOUT_SECONDS = 120.0
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
# How each route is asked for the log-probability of every written token.
LOG_PROBS: dict[str, dict[str, Any]] = {COMPLETIONS: {"logprobs": 1}, CHAT: {"logprobs": True}}
MAX_SHOWN = 100

LogProbs = list[tuple[str, float | None]]


def is_address(source: str) -> bool:
    """Say whether a reference is the address of a server."""
    return source.lower().startswith(("http://", "https://"))


class Endpoint:
    """Asks a server.

    Args:
        address: With or without ``/v1`` at its end.
        contract: What the model promises: names fields and tells which route to take.
        served_model: Name of the model; the first the server lists when not given.
        api_key: Sent as a bearer token.
        timeout_seconds: For one answer.

    Attributes:
        card: What the server says about the model.

    Raises:
        InputError: The server cannot be reached (``INFER-007``), refuses (``INFER-008``), answers
            something else (``INFER-009``), has no such model (``INFER-013``) or none at all
            (``INFER-024``).
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
        self.address = address.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(
                base_url=self.address, headers=headers, timeout=timeout_seconds, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError("INFER-007", url=self.address, reason=str(error)) from error
        self.card = self._pick(served_model)
        self.is_ours = self.card.get("owned_by") == "llmwright"

    def _pick(self, served_model: str | None) -> dict[str, Any]:
        route = "/v1/models"
        reply = self._ask("GET", route)
        try:
            cards: dict[str, dict[str, Any]] = {str(card["id"]): card for card in reply["data"]}
        except (KeyError, TypeError) as error:
            raise self._strange(route, reply) from error
        if not cards:
            raise InputError("INFER-024", url=self.address)
        name = served_model or next(iter(cards))
        if name not in cards:
            hint = closest(name, cards)
            raise InputError("INFER-013", url=self.address, name=name, hint=hint)
        return cards[name]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, method: str, route: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON a route answers."""
        try:
            response = self._client.request(method, route, json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise InputError("INFER-007", url=self.address, reason=reason) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(route, response.status_code, response.text)
        try:
            return response.json()
        except ValueError as error:
            raise self._strange(route, response.text) from error

    def _refusal(self, route: str, status: int, text: str) -> InputError:
        try:
            detail = json.loads(text)["error"]
            reason = str(detail["message"] if isinstance(detail, dict) else detail)
        except (ValueError, KeyError, TypeError):
            reason = text.strip()[:200]
        return InputError("INFER-008", url=self.address + route, status=status, reason=reason)

    def _strange(self, route: str, reply: Any) -> InputError:
        found = " ".join(str(reply).split())[:MAX_SHOWN]
        return InputError("INFER-009", url=self.address + route, found=found)

    def ask(self, row: Row, max_new_tokens: int | None = None) -> dict[str, Any]:
        """Return the answer to one canonical row in the terms of `Task.answer`, greedily.

        A text comes with ``log_probs``, each token's text and natural log-probability, where the
        server gives them; one that refuses the request for them is asked again without.

        Raises:
            InputError: As the class, or the row is nothing to continue (``INFER-014``).
        """
        if not TASKS.get(self.contract.task).generates:
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

    def _openai(self, row: Row) -> tuple[str, dict[str, Any]]:
        """Return route and body of a request to any OpenAI-compatible server."""
        if "messages" in row:
            return CHAT, {"messages": row["messages"]}
        return COMPLETIONS, {"prompt": row["input" if "input" in row else "text"]}

    def _text(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._ask("POST", route, body)
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            answer = {"text": str(text or ""), "finish_reason": choice.get("finish_reason")}
            if choice.get("logprobs"):
                answer["log_probs"] = _log_probs(choice["logprobs"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._strange(route, reply) from error
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
        reply = self._ask("POST", "/generate", {**body, **options})
        outputs = self.card.get("fields", {}).get("output", [])
        back = {theirs: ours for ours, theirs in names.items()}
        try:
            if options:
                reason = reply.get("finish_reason", "stop")
                return {"text": reply[outputs[0]], "finish_reason": reason}
            return {back.get(name, name): value for name, value in reply.items()}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._strange("/generate", reply) from error


def _log_probs(given: dict[str, Any]) -> LogProbs:
    """Return tokens and log-probabilities out of OpenAI's two forms."""
    if "token_logprobs" in given:
        pairs = list(zip(given["tokens"], given["token_logprobs"], strict=True))
    else:
        pairs = [(entry["token"], entry["logprob"]) for entry in given["content"] or []]
    return [(str(token), None if value is None else float(value)) for token, value in pairs]
