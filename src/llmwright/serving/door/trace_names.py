"""Names of what traces tell: OpenTelemetry's conventions for generative AI and for HTTP.

Those for generative AI still change; whoever follows them changes this file. None of them is for
content, and none may be added.

Source: OpenTelemetry semantic conventions, ``gen_ai`` (in development) and ``http`` (stable).
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TIME_TO_FIRST = "gen_ai.response.time_to_first_chunk"

METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
ERROR = "error.type"
SERVICE = "service.name"
VERSION = "service.version"

# What no convention has a name for.
REQUEST_ID = "llmwright.request_id"
KEY = "llmwright.key_id"
CACHE = "llmwright.cache"
GUARDS = "llmwright.guards"

PROVIDER_NAME = "llmwright"
# What a route does, where the conventions have a word for it.
OPERATION_OF_ROUTE = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/generate": "generate_content",
}
