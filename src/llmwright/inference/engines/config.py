"""The registered engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.core.registry import Registry

if TYPE_CHECKING:
    from llmwright.inference.engines.engine import Engine

# What answers for a model.
ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    {
        "torch": "llmwright.inference.engines.torch_engine:TorchEngine",
        "onnx": "llmwright.inference.engines.onnx_engine:OnnxEngine",
        "llamacpp": "llmwright.inference.engines.llamacpp.engine:LlamaCppEngine",
        "vllm": "llmwright.inference.remote.vllm:VllmEngine",
        "endpoint": "llmwright.inference.remote.endpoint:EndpointEngine",
    },
)
