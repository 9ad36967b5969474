"""Several LoRA adapters over one model in memory, chosen for each row of a batch.

The model stays the plain base. An adapter's layers answer behind the base's own, for the rows that
ask for it alone: ``W x + s B A x``, with DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5) each
output in the proportion of the learned length to that of ``W + s B A``. Modules that an adapter
trained whole, as a head, answer instead of the base's.

Shapes: B rows, N rows inside the model (B, or B times T where it flattens them), R rank, I inputs,
O outputs.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmwright.core.errors import InputError
from llmwright.models.adapters import attached
from llmwright.models.adapters.attached import PREFIX, Settings
from llmwright.models.adapters.base import is_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What an adapter does behind a module of the base: (input, the base's output) → output.
Part = Callable[[Tensor, Tensor], Tensor]
LOW_RANK = re.compile(
    r"(?P<module>.+)\.(?P<factor>lora_A\.weight|lora_B\.weight|lora_magnitude_vector)"
)


@dataclass(eq=False)
class Adapter:
    """One adapter over a model.

    Attributes:
        folder: Where it came from.
        parts: Module of the base → what it does behind it.
    """

    folder: Path
    parts: dict[str, Part] = field(default_factory=dict)


class Adapters:
    """The adapters of one model.

    Args:
        model: The plain base.
        folder: Where its weights lie.
    """

    def __init__(self, model: PreTrainedModel, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._named: dict[str, Adapter] = {}
        self._hooked: set[str] = set()
        self._rows: list[Adapter | None] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of those that are loaded."""
        return tuple(self._named)

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name; one that had it is replaced for texts that begin now.

        Raises:
            InputError: It is damaged (``MODEL-050``), was trained on another base (``MODEL-052``),
                does not fit (``MODEL-053``), is none over whole weights by LoRA (``MODEL-057``) or
                no adapter at all (``MODEL-058``), or the model has one already (``MODEL-059``).
        """
        if not is_adapter(folder):
            raise InputError("MODEL-058", path=folder)
        settings, tensors = attached.read(folder)
        assert settings.base is not None
        if settings.type != "LORA" or settings.base.number_format != "float32":
            kind = settings.type.lower().replace("_", " ")
            raise InputError("MODEL-057", path=folder, kind=kind)
        if attached.attached_to(self._model) is not None:
            raise InputError("MODEL-059", path=folder, model=self._folder)
        settings.base.check(folder, self._folder)
        adapter = Adapter(folder)
        low_rank = {key: value for key, value in tensors.items() if LOW_RANK.fullmatch(key)}
        adapter.parts |= self._whole(tensors.keys() - low_rank.keys(), tensors, folder)
        adapter.parts |= self._low_rank(low_rank, settings.settings, folder)
        for module in adapter.parts.keys() - self._hooked:
            self._hook(module)
        self._named[name] = adapter

    def unload(self, name: str) -> None:
        """Forget an adapter; its memory is free once the last text that uses it has ended."""
        del self._named[name]

    def chosen(self, names: Sequence[str | None]) -> list[Adapter | None]:
        """Return the adapter of each row; None is the base alone."""
        return [None if name is None else self._named[name] for name in names]

    @contextlib.contextmanager
    def over(self, rows: Sequence[Adapter | None]) -> Iterator[None]:
        """Let the model answer each row of a batch through its own adapter, within this block."""
        self._rows = list(rows) if any(rows) else []
        try:
            yield
        finally:
            self._rows = []

    def _module(self, name: str, folder: Path) -> nn.Module:
        try:
            found: nn.Module = self._model.get_submodule(name)
        except AttributeError as error:
            raise InputError("MODEL-053", path=folder, keys=name) from error
        return found

    def _low_rank(
        self, tensors: dict[str, Tensor], settings: Settings, folder: Path
    ) -> dict[str, Part]:
        by_module: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            found = LOW_RANK.fullmatch(key)
            assert found is not None
            by_module.setdefault(found["module"].removeprefix(PREFIX), {})[found["factor"]] = value
        parts: dict[str, Part] = {}
        for name, factors in by_module.items():
            module = self._module(name, folder)
            try:
                parts[name] = _low_rank(module, factors, settings)
            except (KeyError, RuntimeError, AttributeError, TypeError) as error:
                raise InputError("MODEL-053", path=folder, keys=f"{name}: {error}") from error
        return parts

    def _whole(self, keys: set[str], tensors: dict[str, Tensor], folder: Path) -> dict[str, Part]:
        """Return copies of modules with an adapter's weights instead of the base's.

        A weight that is used in two places, as the embedding that also writes tokens, changes in
        both.
        """
        own = dict(self._model.named_parameters())
        unknown = sorted(key for key in keys if key.removeprefix(PREFIX) not in own)
        if unknown:
            raise InputError("MODEL-053", path=folder, keys=", ".join(unknown[:3]))
        device = self._model.device
        trained = {id(own[key.removeprefix(PREFIX)]): tensors[key].to(device) for key in keys}
        parts: dict[str, Part] = {}
        for name, module in self._model.named_modules():
            weights = dict(module._parameters)
            if not any(id(weight) in trained for weight in weights.values()):
                continue
            changed = copy.copy(module)
            changed._parameters = {
                key: _replaced(weight, trained) for key, weight in weights.items()
            }
            changed._forward_hooks = OrderedDict()
            parts[name] = _instead(changed)
        return parts

    def _hook(self, name: str) -> None:
        def behind(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return self._answer(name, inputs[0], output)

        self._model.get_submodule(name).register_forward_hook(behind)
        self._hooked.add(name)

    def _answer(self, name: str, x: Tensor, output: Tensor) -> Tensor:
        """Return what a module says to each row through the row's adapter."""
        for adapter in {id(one): one for one in self._rows if one}.values():
            part = adapter.parts.get(name)
            if part is None:
                continue
            if all(one is adapter for one in self._rows):
                return part(x, output)
            places_N = self._places(adapter, len(x)).to(x.device)
            said = part(x[places_N], output[places_N])
            if said.shape[1:] != output.shape[1:]:
                raise InputError("MODEL-060", path=adapter.folder, name=name)
            output = output.index_copy(0, places_N, said.to(output.dtype))
        return output

    def _places(self, adapter: Adapter, count: int) -> Tensor:
        """Return the places of an adapter's rows; some modules see all tokens as rows."""
        mine_B = torch.tensor([one is adapter for one in self._rows])
        if count % len(mine_B):
            raise InputError("MODEL-060", path=adapter.folder, name=str(count))
        return torch.nonzero(mine_B.repeat_interleave(count // len(mine_B)))[:, 0]


def _replaced(weight: nn.Parameter | None, trained: dict[int, Tensor]) -> nn.Parameter | None:
    if weight is None:
        return None
    return nn.Parameter(trained.get(id(weight), weight), requires_grad=False)


def _instead(module: nn.Module) -> Part:
    def part(x: Tensor, output: Tensor) -> Tensor:
        found: Tensor = module(x)
        return found

    return part


def _low_rank(module: nn.Module, factors: dict[str, Tensor], settings: Settings) -> Part:
    """Return what one adapted layer adds.

    Raises:
        KeyError, RuntimeError, AttributeError, TypeError: The factors do not fit the layer.
    """
    weight: Any = module.weight
    a_RI = factors["lora_A.weight"].to(weight.device, weight.dtype)
    b_OR = factors["lora_B.weight"].to(weight.device, weight.dtype)
    rank = int(settings["r"])
    if len(a_RI) != rank:
        raise TypeError(f"rank {len(a_RI)}, expected {rank}")
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings["use_rslora"] else rank)
    weight_OI = weight.T if settings["fan_in_fan_out"] else weight
    changed_OI = weight_OI + scale * (b_OR @ a_RI)
    lengths_O = factors.get("lora_magnitude_vector")
    if lengths_O is None:
        del changed_OI

        def plain(x: Tensor, output: Tensor) -> Tensor:
            added: Tensor = (x.to(a_RI.dtype) @ a_RI.T @ b_OR.T) * scale
            return output + added

        return plain
    share_O = lengths_O.to(weight.device, weight.dtype).reshape(-1)
    share_O = share_O / torch.linalg.norm(changed_OI, dim=1)
    bias_O: Any = module.bias if module.bias is not None else torch.zeros_like(share_O)

    def turned(x: Tensor, output: Tensor) -> Tensor:
        added: Tensor = (x.to(a_RI.dtype) @ a_RI.T @ b_OR.T) * scale
        found: Tensor = (output - bias_O + added) * share_O + bias_O
        return found

    return turned
