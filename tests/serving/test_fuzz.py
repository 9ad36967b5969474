"""Requests made from the OpenAPI document, right and wrong ones, against running servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

Server = Callable[..., Any]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# What a server may say of itself at any time.
BUSY = (503, 504)


def fuzz(client: Any, num_examples: int) -> int:
    """Send so many requests of each kind to each route; return how many there were."""
    document = client.get("/openapi.json").json()
    session = requests.Session()
    session.trust_env = False
    count = 0

    def check(case: schemathesis.Case) -> None:
        nonlocal count
        count += 1
        reply = case.call(base_url=str(client.base_url), session=session, timeout=30)
        if reply.status_code in BUSY:
            assert int(reply.headers["retry-after"][0]) >= 1
            return
        case.validate_response(reply, checks=[*CHECKS, not_a_server_error])
        if reply.status_code >= 400:
            error = reply.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["message"]
            assert error["code"] != "internal"

    for found in from_dict(document).get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            run = settings(
                max_examples=num_examples,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(case=operation.as_strategy(generation_mode=mode))(check))
            # A route without fields cannot be asked wrongly.
            with contextlib.suppress(Unsatisfiable):
                run()
    return count


LIMITS = {"max_new_tokens": 4, "max_queue": 8, "request_timeout_seconds": 20}


def test_a_few_requests_of_each_kind(server: Server) -> None:
    with server("talk", **LIMITS) as client:
        assert fuzz(client, 2) >= 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["talk", "intents", "names", "weather", "pairs", "judge", "vectors"]
)
def test_many_requests_of_each_kind(server: Server, name: str) -> None:
    with server(name, **LIMITS) as client:
        assert fuzz(client, 25) >= 75
        assert client.get("/readyz").status_code == 200
