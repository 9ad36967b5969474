"""A model behind an address: a server of LLMwright, or any that speaks OpenAI's protocol.

A server gives answers, no logits, so this is a predictor of its own rather than an `Engine`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx

from llmwright.core.errors import InputError, closest
from llmwright.data.records import Row
from llmwright.inference.predictor import BATCH_SIZE, Predictor
from llmwright.tasks.contract import Contract

TIMEOUT_SECONDS = 120.0
# Our names → theirs.
OPTIONS = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "seed": "seed",
}


def is_address(source: str) -> bool:
    """Say whether a reference is the address of a server."""
    return source.lower().startswith(("http://", "https://"))


class EndpointPredictor(Predictor):
    """Asks a server.

    Args:
        address: With or without ``/v1`` at its end.
        contract: What the model promises, where it is known; names fields and tells which route
            to take.
        served_model: Name of the model; the first the server lists when not given.
        api_key: Sent as a bearer token.
        timeout_seconds: For one answer.

    Raises:
        InputError: The server cannot be reached (``INFER-007``), refuses (``INFER-008``), answers
            something else (``INFER-009``) or has no such model (``INFER-013``).
    """

    def __init__(
        self,
        address: str,
        contract: Contract | None = None,
        served_model: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.contract = contract
        self.name = address.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(
            base_url=self.name, headers=headers, timeout=timeout_seconds, trust_env=False
        )
        self.card = self._pick(served_model)
        self.is_ours = self.card.get("owned_by") == "llmwright"

    def _pick(self, served_model: str | None) -> dict[str, Any]:
        cards = {card["id"]: card for card in self._ask("GET", "/v1/models")["data"]}
        name = served_model or next(iter(cards), "")
        if name not in cards:
            hint = closest(name, cards)
            raise InputError("INFER-013", url=self.name, name=name or "-", hint=hint)
        found: dict[str, Any] = cards[name]
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, method: str, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON a route answers."""
        try:
            response = self._client.request(method, route, json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise InputError("INFER-007", url=self.name, reason=reason) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(route, response.status_code, response.text)
        try:
            found: dict[str, Any] = response.json()
        except ValueError as error:
            raise InputError("INFER-009", url=self.name + route) from error
        return found

    def _refusal(self, route: str, status: int, text: str) -> InputError:
        try:
            detail = json.loads(text)["error"]
            reason = str(detail["message"] if isinstance(detail, dict) else detail)
        except (ValueError, KeyError, TypeError):
            reason = text.strip()[:200]
        return InputError("INFER-008", url=self.name + route, status=status, reason=reason)

    def predict(
        self, rows: Iterable[Row], batch_size: int = BATCH_SIZE, **generation: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the answer to each row, one request after another."""
        for row in rows:
            yield self.ask_row(row, generation)

    def ask_row(self, row: Row, generation: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one row in the terms of `Task.answer`."""
        if self.is_ours:
            return self._generate(row, generation)
        route, body = self._openai(row, generation)
        choice = self._ask("POST", route, body)["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        answer = {"text": text or "", "finish_reason": choice.get("finish_reason")}
        if choice.get("logprobs"):
            answer["logprobs"] = choice["logprobs"]
        return answer

    def _generate(self, row: Row, generation: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a server of LLMwright under the model's own field names."""
        names = self.contract.fields if self.contract else {}
        body = {names.get(column, column): value for column, value in row.items()}
        known = self.card.get("fields", {}).get("input", [])
        theirs = names.get("text", "text")
        if theirs in body and theirs not in known and "prompt" in known:
            # A text to go on from is a prompt, whatever its column was called.
            body["prompt"] = body.pop(theirs)
        reply = self._ask("POST", "/generate", {**body, **self._options(generation)})
        outputs = self.card.get("fields", {}).get("output", [])
        task = self.card.get("task")
        if task in ("text-generation", "seq2seq"):
            return {"text": reply[outputs[0]], "finish_reason": reply.get("finish_reason", "stop")}
        back = {theirs: ours for ours, theirs in names.items()}
        return {back.get(name, name): value for name, value in reply.items()}

    def _options(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        return {OPTIONS[k]: v for k, v in generation.items() if v is not None and k in OPTIONS}

    def _openai(self, row: Row, generation: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return route and body of a request to any OpenAI-compatible server.

        Raises:
            InputError: The row is nothing to continue (``INFER-014``).
        """
        head = {"model": self.card["id"], **self._options(generation)}
        if "messages" in row:
            return "/v1/chat/completions", {**head, "messages": row["messages"]}
        names = self.contract.fields if self.contract else {}
        for column in ("prompt", "text", "input"):
            value = row.get(column, row.get(names.get(column, column)))
            if isinstance(value, str):
                return "/v1/completions", {**head, "prompt": value}
        raise InputError("INFER-014", url=self.name, fields=", ".join(row))

    def stream(self, row: Row, **generation: Any) -> Iterator[str]:
        """Yield the text for one row as the server sends it."""
        route, body = self._openai(row, generation)
        try:
            with self._client.stream("POST", route, json={**body, "stream": True}) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(route, response.status_code, response.read().decode())
                yield from self._pieces(response)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise InputError("INFER-007", url=self.name, reason=reason) from error

    def _pieces(self, response: httpx.Response) -> Iterator[str]:
        for line in response.iter_lines():
            data = line.removeprefix("data:").strip()
            if not line.startswith("data:") or data == "[DONE]":
                continue
            event = json.loads(data)
            if "error" in event:
                raise self._refusal("", response.status_code, data)
            for choice in event.get("choices", []):
                piece = choice.get("delta", {}).get("content") or choice.get("text") or ""
                if piece:
                    yield piece
