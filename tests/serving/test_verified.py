"""A real server proves itself: verify asks it for the probes of its model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.inference.endpoint import Endpoint
from llmwright.inference.proof.probes import Probes
from llmwright.inference.proof.remote import compare_remote
from llmwright.serving.served.model import ServedModel


@pytest.mark.parametrize("name", ["weather", "poems", "talk", "intents", "names"])
def test_the_probes_are_answered_over_http(
    name: str,
    server: Callable[..., object],
    models: Callable[[str], ServedModel],
    artifacts: Callable[[str], Artifact],
) -> None:
    model = models(name)
    with server(name) as client:  # type: ignore[attr-defined]
        endpoint = Endpoint(str(client.base_url), model.contract)
        probes = Probes.open(artifacts(name).path)
        table = compare_remote(endpoint, probes, model.predictor.tokenizer)
        endpoint.close()
    assert table.passed
    # A text that ends at once has no token to tell of.
    assert (table.value("score_difference") or 0.0) < 1e-4
    if model.fields.generates:
        assert table.value("log_probs_given") == 1.0
