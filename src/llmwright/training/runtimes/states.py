"""Weights and optimizer states that do not depend on how many processes hold them.

Everything goes by the names of weights and in whole tensors, so that what two processes wrote, one
or three can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

if TYPE_CHECKING:
    from torch.optim import Optimizer


def whole(value: Any) -> Any:
    """Return a value; a tensor that is spread over processes is put together in memory.

    All processes must ask for it.
    """
    return value.full_tensor().detach().cpu() if isinstance(value, DTensor) else value


def are_spread(groups: Iterable[dict[str, Any]]) -> bool:
    """Say whether weights in the groups of an optimizer are spread over processes."""
    return any(isinstance(weight, DTensor) for group in groups for weight in group["params"])


def make_whole(model: nn.Module, keep: bool) -> None:
    """Put every weight of a model together that is spread; it can be saved then, not called.

    Args:
        model: All processes must ask for it.
        keep: Whether this process keeps the weights; without them its model is an empty shell.
    """
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        weights: dict[str, Any] = module._parameters
        for name, weight in weights.items():
            if not isinstance(weight, DTensor):
                continue
            if id(weight) not in made:
                value = whole(weight)
                kept = value if keep else value.new_empty(0)
                made[id(weight)] = nn.Parameter(kept, requires_grad=weight.requires_grad)
            weights[name] = made[id(weight)]


def placed_like(value: Tensor, weight: Tensor) -> Tensor:
    """Return a whole tensor spread over processes as a weight is."""
    if not isinstance(weight, DTensor) or value.shape != weight.shape:
        return value
    # Every process has the whole: each takes its part, and nothing is sent.
    return distribute_tensor(
        value.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None
    )


def whole_optimizer(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's state by names of weights, and what its groups keep beside them."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    state = {
        names[id(weight)]: {key: whole(value) for key, value in values.items()}
        for weight, values in _ordered(optimizer)
    }
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    return {"state": state, "groups": groups}


def load_optimizer(model: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Bring back what `whole_optimizer` returned.

    Raises:
        ValueError: The optimizer has other groups.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    numbers = iter(range(len(weights)))
    groups = [
        # How a step is computed suits the present runtime.
        {
            **kept,
            **{key: group[key] for key in ("fused", "foreach") if key in group},
            "params": [next(numbers) for _ in group["params"]],
        }
        for kept, group in zip(state["groups"], optimizer.param_groups, strict=True)
    ]
    known = {
        number: {
            key: placed_like(value, weight) if isinstance(value, Tensor) else value
            for key, value in state["state"][names[id(weight)]].items()
        }
        for number, weight in enumerate(weights)
        if names[id(weight)] in state["state"]
    }
    optimizer.load_state_dict({"state": known, "param_groups": groups})


def _ordered(optimizer: Optimizer) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yield weights with their state in the order of the groups: the same in all processes."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight in optimizer.state:
                yield weight, optimizer.state[weight]
