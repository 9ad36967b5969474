"""Adapters: which weights learn."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from llmwright.core.config import Kind
from llmwright.core.locale import text
from llmwright.core.registry import Registry, load_object

_CONFIG = "llmwright.training.adapters.config"
_ADAPTERS = "llmwright.training.adapters"

# `build(request)` takes a `training.adapters.adapter.AdapterRequest` and returns its model with
# only those weights trainable that shall be.
ADAPTERS: Registry[type[AdapterKind]] = Registry(
    "adapter",
    {
        "full": f"{_CONFIG}:FullAdapter",
        "freeze": f"{_CONFIG}:FreezeAdapter",
        "lora": f"{_CONFIG}:LoraAdapter",
        "qlora": f"{_CONFIG}:QloraAdapter",
        "prompt_tuning": f"{_CONFIG}:PromptTuning",
        "prefix_tuning": f"{_CONFIG}:PrefixTuning",
    },
)


class AdapterKind(Kind):
    """Which weights learn.

    Attributes:
        needs_finished: Whether it only makes sense on weights that were trained before.
        default_lr: Learning rate of a run that names none; None takes that of a full training.
    """

    needs_finished: ClassVar[bool] = False
    default_lr: ClassVar[float | None] = None

    def context_taken(self) -> int:
        """Return how many tokens of the model's context it uses up."""
        return 0

    def lr_factor(self, name: str) -> float:
        """Return what the learning rate of a weight is multiplied with.

        Args:
            name: The weight's name in the model.
        """
        return 1.0

    def require(self) -> None:
        """Raise for what this machine lacks, before any work is done.

        Raises:
            ResourceError: A device or a package is missing.
        """


class FullAdapter(AdapterKind):
    """Train every weight."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.full:build"

    kind: Literal["full"] = "full"
    """Name of this adapter."""


class FreezeAdapter(AdapterKind):
    """Train some of the weights; a new head always learns. The result is a whole model."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.freeze:build"

    kind: Literal["freeze"] = "freeze"
    """Name of this adapter."""
    last_layers: int | None = Field(None, ge=0)
    """Layers that learn, counted from the output; of an encoder-decoder in each half. 2 when
    nothing else that shall learn is named either, else none."""
    trainable: list[str] = []
    """Weights that learn, by name; `*` stands for any letters, and a name may begin behind any dot:
    `[bias]` takes all biases, `[layers.0.*]` the first layer."""
    embeddings: bool = False
    """Whether the token embeddings learn, and the layer that turns vectors into tokens."""


class LowRank(AdapterKind):
    """What LoRA and QLoRA have in common."""

    needs_finished: ClassVar[bool] = True
    # Ten times that of a full training: the adapter begins at no effect and has few weights.
    default_lr: ClassVar[float | None] = 5e-4

    rank: int = Field(16, ge=1)
    """Size of the adapter: each layer's change has this rank. More learns more and takes more
    memory; 8 to 64 are usual."""
    alpha: float | None = Field(None, gt=0)
    """Strength: the change is multiplied with alpha / rank. Twice the rank when not given."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapter's inputs that are dropped in training, against over-fitting."""
    targets: list[str] = []
    """Linear layers that are adapted, by name: `[q_proj, v_proj]`; `*` stands for any letters. All
    linear layers of the model's blocks when empty, which learns best (they are named)."""
    modules_to_save: list[str] = []
    """Modules that learn whole besides, by name: `[embed_tokens]`. A new head and grown embeddings
    always do. They are saved with the adapter and make it large."""
    rslora: bool = False
    """Divide alpha by the root of the rank instead of the rank, so that high ranks learn as fast
    (rsLoRA)."""
    dora: bool = False
    """Also learn the length of each layer's weights (DoRA): often better at low ranks, slower."""
    lr_ratio_b: float = Field(1.0, gt=0)
    """Learning rate of the second factor B over that of the first (LoRA+); 16 is usual there, with
    a lower `lr`."""

    def lr_factor(self, name: str) -> float:
        """Return more for the second factor."""
        return self.lr_ratio_b if ".lora_B." in name else 1.0


class LoraAdapter(LowRank):
    """Train small low-rank changes of the linear layers; the model itself stays (LoRA)."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.lora:build"

    kind: Literal["lora"] = "lora"
    """Name of this adapter."""
    init: Literal["default", "gaussian", "pissa", "olora"] = "default"
    """What it begins with. `default` and `gaussian`: no effect; `pissa`: the strongest part of each
    layer, by singular values, which often learns faster; `olora`: an orthonormal part. The last two
    are saved as a plain adapter of twice the rank."""


class QloraAdapter(LowRank):
    """LoRA on a model whose layers are stored in 4 bits (nf4): needs a GPU, but little of it."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.qlora:build"

    kind: Literal["qlora"] = "qlora"
    """Name of this adapter."""

    def require(self) -> None:
        """Raise where no GPU or no bitsandbytes is there."""
        load_object(f"{_ADAPTERS}.qlora:require")()


class VirtualAdapter(AdapterKind):
    """What prompt and prefix tuning have in common."""

    needs_finished: ClassVar[bool] = True

    num_virtual_tokens: int = Field(20, ge=1)
    """How many. Each takes a place of the model's context."""
    init_text: str | None = None
    """Text whose tokens they begin as, repeated or cut to their number; random tokens when not
    given. A description of the task is a good one."""

    @field_validator("init_text")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError(text("training.empty_init_text"))
        return value

    def context_taken(self) -> int:
        """Return one place for each of them."""
        return self.num_virtual_tokens


class PromptTuning(VirtualAdapter):
    """Learn the embeddings of tokens that stand before every text; decoders only."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.virtual:build"
    default_lr: ClassVar[float | None] = 3e-2

    kind: Literal["prompt_tuning"] = "prompt_tuning"
    """Name of this adapter."""


class PrefixTuning(VirtualAdapter):
    """Learn keys and values of tokens before every text, in each layer; decoders only."""

    implementation: ClassVar[str] = f"{_ADAPTERS}.virtual:build"
    default_lr: ClassVar[float | None] = 3e-2

    kind: Literal["prefix_tuning"] = "prefix_tuning"
    """Name of this adapter."""
