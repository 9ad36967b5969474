"""What is switched on for a run, in order; each choice is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmwright.core.locale import text
from llmwright.training.acceleration.attention import use_plain_attention
from llmwright.training.acceleration.dropout import use_quick_dropout
from llmwright.training.acceleration.parts import use_checkpointing, use_kernels, use_tf32
from llmwright.training.runtimes.precision import choose_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.training.config import TrainConfig
    from llmwright.training.runtimes.runtime import Runtime


def change_parts(
    config: TrainConfig, model: PreTrainedModel, runtime: Runtime, notice: Callable[[str], None]
) -> None:
    """Put other parts into a model, before an objective tries what it needs.

    Raises:
        ConfigError, ResourceError: As `use_kernels` and `use_checkpointing`.
    """
    use_kernels(config.kernels, model, runtime.device, notice)
    use_tf32(config.precision, runtime.device, notice)
    if config.checkpointing is True:
        use_checkpointing(model)
        notice(text("training.checkpointing_on"))


def choose_arithmetic(
    config: TrainConfig, model: PreTrainedModel, runtime: Runtime, notice: Callable[[str], None]
) -> None:
    """Choose the number format, and what suits it and the device, after an objective's trials.

    Raises:
        ConfigError: As `choose_precision`.
    """
    runtime.precision, sentence = choose_precision(config.precision, model, runtime.device)
    notice(sentence)
    if use_quick_dropout(model, runtime):
        notice(text("training.quick_dropout"))
    if use_plain_attention(model, runtime):
        notice(text("training.plain_attention"))
