"""ONNX graphs of a model, traced by transformers' exporter with shapes we choose.

A classifier or tagger is one graph. A decoder is one graph too: over an empty cache it reads a
prompt, over a filled one it continues. An encoder-decoder has two: ``prefill`` reads the input and
any number of target tokens, ``decode`` appends one token.

`export_for_generation` of the exporter is not used: it leaves the encoder out, fixes the length of
a cache that has one token in its example, and drops the mask of an example without padding.

Shapes: B rows, T tokens, U target tokens, P cached tokens.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir
import torch

from llmwright.core.errors import InputError
from llmwright.export.config import OnnxFormat
from llmwright.export.int8 import to_int8, widths
from llmwright.inference.engines.opening import open_contract
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.put import merge
from llmwright.models.load import load_model
from llmwright.tasks.task import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Sizes of the example that is traced. All differ and none is 0 or 1, which tracing takes for fixed.
ROWS, TOKENS, TARGETS, CACHED, KEPT = 2, 7, 3, 5, 4


def export_onnx(
    chosen: OnnxFormat, source: Path, folder: Path, report: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Write the ONNX graphs of a model and return what ``export.json`` says about them.

    Args:
        chosen: Says in how many bits weights are kept.
        source: Model folder.
        folder: Where the graphs go.
        report: Is told which graph is being made.

    Raises:
        InputError: The exporter cannot express the model (``EXPORT-004``), or it has no weight that
            8 bits are for (``EXPORT-023``).
    """
    contract = open_contract(source)
    task = TASKS.get(contract.task)
    model = load_model(source, task=task.auto_class)
    if attached_to(model) is not None:
        merge(model)
    total = 2 if task.generates and model.config.is_encoder_decoder else 1
    graphs: dict[str, str] = {}
    weights = {"int8": 0, "float32": 0}
    num_labels = 0 if task.generates else int(model.config.num_labels)
    for index, trace in enumerate(traces(model, task.generates, contract.token_types)):
        report(trace.name, index, total)
        graphs[trace.name] = f"{trace.name}.onnx"
        program = graph_of(model, trace)
        if chosen.precision == "int8":
            program = to_int8(program, task.generates, num_labels)
        for width, count in widths(program).items():
            weights[width] += count
        _forget_origin(program)
        path = folder / graphs[trace.name]
        onnx_ir.save(program, str(path), external_data=f"{path.name}.data")
    if chosen.precision == "int8" and not weights["int8"]:
        raise InputError("EXPORT-023", name=type(model).__name__)
    report("saved", total, total)
    context = getattr(model.config, "max_position_embeddings", None)
    return {"graphs": graphs, "context": context, "weights": weights}


@dataclass(frozen=True)
class Trace:
    """One graph to make.

    Attributes:
        name: ``model``, ``prefill`` or ``decode``.
        inputs: Example arguments of the model's `forward`.
        shapes: Which of their axes may vary.
    """

    name: str
    inputs: dict[str, Any]
    shapes: dict[str, Any]


def _parameters(model: PreTrainedModel) -> set[str]:
    return set(inspect.signature(model.forward).parameters)


def traces(model: PreTrainedModel, generates: bool, token_types: bool = False) -> Iterator[Trace]:
    """Yield the graphs of a model, each with its example; the next example is made when asked."""
    vary = torch.export.Dim.AUTO
    table_BT = {0: vary, 1: vary}
    vocabulary = model.config.vocab_size
    generator = torch.Generator().manual_seed(0)

    def ids(rows: int, count: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, (rows, count), generator=generator)

    mask_BT = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask_BT[1, TOKENS - 2 :] = 0
    if not generates:
        inputs = {"input_ids": ids(ROWS, TOKENS), "attention_mask": mask_BT}
        if token_types:
            inputs["token_type_ids"] = torch.zeros_like(mask_BT)
        yield Trace("model", inputs, dict.fromkeys(inputs, table_BT))
    elif model.config.is_encoder_decoder:
        yield from _encoder_decoder(model, ids, mask_BT, table_BT)
    else:
        yield _decoder(model, ids, table_BT)


def _encoder_decoder(
    model: PreTrainedModel,
    ids: Callable[[int, int], torch.Tensor],
    mask_BT: torch.Tensor,
    table_BT: dict[int, Any],
) -> Iterator[Trace]:
    from transformers.modeling_outputs import BaseModelOutput

    inputs = {
        "input_ids": ids(ROWS, TOKENS),
        "attention_mask": mask_BT,
        "decoder_input_ids": ids(ROWS, TARGETS),
        "use_cache": True,
    }
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    yield Trace("prefill", inputs, dict.fromkeys(names, table_BT))
    with torch.no_grad():
        # The cache after several tokens, so that its length is not taken for fixed.
        after = model(**inputs)
    cache_shape = {0: table_BT[0], 2: table_BT[0]}
    num_layers = len(after.past_key_values.self_attention_cache.layers)
    yield Trace(
        "decode",
        {
            "encoder_outputs": BaseModelOutput(last_hidden_state=after.encoder_last_hidden_state),
            "attention_mask": mask_BT,
            "decoder_input_ids": ids(ROWS, 1),
            "past_key_values": after.past_key_values,
            "use_cache": True,
        },
        {
            "encoder_outputs": [table_BT],
            "attention_mask": table_BT,
            "decoder_input_ids": {0: table_BT[0]},
            "past_key_values": [cache_shape] * (4 * num_layers),
        },
    )


def _decoder(
    model: PreTrainedModel, ids: Callable[[int, int], torch.Tensor], table_BT: dict[int, Any]
) -> Trace:
    with torch.no_grad():
        past = model(input_ids=ids(ROWS, CACHED), use_cache=True).past_key_values
    mask_BT = torch.ones(ROWS, CACHED + TARGETS, dtype=torch.long)
    # Padding on the left; an example without any would be traced without its mask.
    mask_BT[1, :2] = 0
    inputs = {
        "input_ids": ids(ROWS, TARGETS),
        "attention_mask": mask_BT,
        "past_key_values": past,
        "use_cache": True,
    }
    shapes: dict[str, Any] = {
        "input_ids": table_BT,
        "attention_mask": table_BT,
        "past_key_values": [{0: table_BT[0], 2: table_BT[0]}] * (2 * len(past.layers)),
    }
    if "position_ids" in _parameters(model):
        inputs["position_ids"] = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, CACHED:]
        shapes["position_ids"] = table_BT
    if "logits_to_keep" in _parameters(model):
        # Positions, of another count than the tokens: scoring wants all of them, writing the last.
        inputs["logits_to_keep"] = torch.arange(KEPT).clamp(max=TARGETS - 1)
        shapes["logits_to_keep"] = {0: table_BT[0]}
    return Trace("decode", inputs, shapes)


def graph_of(model: PreTrainedModel, trace: Trace) -> onnx_ir.Model:
    """Trace one graph and return it, inputs and outputs named as the engine knows them.

    Raises:
        InputError: The exporter cannot express the model (``EXPORT-004``).
    """
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    config = OnnxConfig(dynamic=True, dynamic_shapes=trace.shapes)
    try:
        with warnings.catch_warnings():
            # Tracing warns about its own internals, which a user can do nothing about.
            warnings.simplefilter("ignore")
            exported = OnnxExporter().export(model, trace.inputs, config)
    except Exception as error:  # torch.export has many classes of errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        name = type(model).__name__
        raise InputError("EXPORT-004", name=name, graph=trace.name, reason=reason) from error
    program: onnx_ir.Model = exported.program
    _name_caches(program)
    return program


def _name_caches(program: onnx_ir.Model) -> None:
    """Give caches their names and leave out outputs that only repeat an input.

    A cache is ``past_key_values.…`` where it goes in and ``present.…`` where it comes out.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = program.graph
    for value in graph.inputs:
        value.name = str(value.name).removeprefix("input.")
    has_past = any(str(value.name).startswith("past_key_values.") for value in graph.inputs)
    for index in reversed(range(len(graph.outputs))):
        name = str(graph.outputs[index].name).removeprefix("output.")
        repeats = has_past and "cross_attention_cache" in name
        if repeats or name == "encoder_last_hidden_state":
            del graph.outputs[index]
        elif name.startswith("past_key_values."):
            graph.outputs[index].name = "present." + name.removeprefix("past_key_values.")
    RemoveUnusedNodesPass()(program)
    used = {value for node in graph for value in node.inputs}
    for index in reversed(range(len(graph.inputs))):
        if graph.inputs[index] not in used:
            del graph.inputs[index]


def _forget_origin(program: onnx_ir.Model) -> None:
    """Remove what tracing noted at each node: stack traces with this machine's paths."""
    for node in program.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*program.graph.inputs, *program.graph.outputs):
        value.metadata_props.clear()
    program.graph.metadata_props.clear()
    program.metadata_props.clear()
