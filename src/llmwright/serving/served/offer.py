"""What a model promises its clients before its weights are loaded: all of it is in the contract."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from llmwright.serving.door.errors import ApiError
from llmwright.serving.served.fields import Fields, fields_of
from llmwright.tasks.contract import Contract

ROUTES = {
    "write": "/v1/completions",
    "chat": "/v1/chat/completions",
    "classify": "/v1/classify",
    "seq2seq": "/v1/seq2seq",
    "tag": "/v1/tag",
    "fill": "/v1/fill",
    "regress": "/v1/regress",
    "reward": "/v1/reward",
    "rank": "/v1/rerank",
    "embed": "/v1/embeddings",
}
# What every model answers besides.
ALWAYS = ("/generate", "/tokenize", "/detokenize")
# What models do that neither write texts nor tell labels of them, by task.
OTHERS = {
    "token-classification": "tag",
    "text-regression": "regress",
    "reward": "reward",
    "fill-mask": "fill",
    "text-embedding": "embed",
}


class Offer:
    """A model's name, contract and routes.

    Args:
        contract: Of the model.
        name: What clients call it.
        artifact: Id of its artifact.
        kind: ``model`` or ``export``.
        created: When it was made, in seconds since 1970.
    """

    def __init__(
        self, contract: Contract, name: str, artifact: str = "", kind: str = "model",
        created: int = 0,
    ) -> None:  # fmt: skip
        self.contract = contract
        self.name = name
        self.artifact = artifact
        self.kind = kind
        self.created = created
        self.fields: Fields = fields_of(self.contract)

    @cached_property
    def abilities(self) -> frozenset[str]:
        """What it can do, by the names of `ROUTES`."""
        if not self.fields.generates:
            own = OTHERS.get(self.contract.task, "classify")
            ranks = self.reads_pairs or own in ("reward", "embed")
            return frozenset({own, "rank"} if ranks else {own})
        kinds = {"messages": {"write", "chat"}, "pair": {"write", "seq2seq"}}
        return frozenset(kinds.get(self.contract.row_type, {"write"}))

    @property
    def reads_pairs(self) -> bool:
        """Whether it compares two texts."""
        return "text_pair" in self.contract.fields

    @property
    def routes(self) -> list[str]:
        """Routes it answers."""
        own = [route for name, route in ROUTES.items() if name in self.abilities]
        return [ALWAYS[0], *own, *ALWAYS[1:]]

    def must(self, ability: str, route: str) -> None:
        """Refuse a route the model cannot answer.

        Raises:
            ApiError: It cannot (400); the message names the routes it answers.
        """
        if ability in self.abilities:
            return
        routes = ", ".join(self.routes)
        if ability == "chat" and "write" in self.abilities:
            raise ApiError(400, "no_chat", name=self.name, routes=routes)
        raise ApiError(
            400, "not_able", name=self.name, task=self.contract.task, route=route, routes=routes
        )

    def card(self) -> dict[str, Any]:
        """Return what ``/v1/models`` says about it, loaded or not."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "llmwright",
            "task": self.contract.task,
            "artifact": self.artifact,
            "num_parameters": self.contract.num_parameters,
            "max_length": self.contract.max_length,
            "fields": {
                "input": [*self.fields.needed, *self.fields.also],
                "output": list(self.fields.outputs.values()),
            },
            "labels": self.contract.labels,
            "multi_label": self.contract.multi_label,
            "controls": self.contract.choices(),
            "routes": self.routes,
        }
