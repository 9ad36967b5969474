"""ONNX graphs with weights of 8 bits, and activations rounded to 8 bits while they run.

Three things happen to three kinds of weights:

- Rows of embedding tables get a scale each; a row is a text's own, so nothing is lost by others.
- Of labellers, products become whole-number products whose activations share one scale per batch:
  the quickest. Where a layer narrows (the second of a feed-forward pair) activations are far apart,
  and one scale for all costs more accuracy than all other layers together: those use blocks.
- Blocks of 64 weights with a scale each, and activations scaled row by row: several times closer,
  and a text's answer does not depend on its neighbours in the batch. All products of models that
  write texts, since there an early difference is never made good.

The layer that gives a labeller's logits stays as it is: it is tiny and decides.

Shapes: V rows of a table, H their size; K inputs, N outputs of a product, J blocks of its inputs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

BLOCK = 64
# Smaller weights save nothing.
MIN_WEIGHTS = 2048
ORT_DOMAIN = "com.microsoft"
# Level of onnxruntime's block products at which activations are rounded to 8 bits, too.
ROUNDED_ACTIVATIONS = 4
LARGEST = 127


def to_int8(program: onnx_ir.Model, generates: bool, num_labels: int) -> onnx_ir.Model:
    """Return a graph with its large weights in 8 bits.

    Args:
        program: The graph in float32; it is used up.
        generates: Whether the model writes texts.
        num_labels: Outputs of the layer that stays as it is; 0 where there is none.
    """
    graph = program.graph
    graph.opset_imports[ORT_DOMAIN] = 1
    quick: list[str] = []
    for node in list(graph):
        table = weight_of(node, 0 if node.op_type == "Gather" else 1)
        if table is None or table.size < MIN_WEIGHTS:
            continue
        if node.op_type == "Gather":
            _narrow_table(node, table)
        elif table.shape[1] != num_labels:
            num_inputs, num_outputs = table.shape
            own = node.inputs[1] in graph.initializers.values()
            if generates or not own or node.op_type == "Gemm" or num_inputs > num_outputs:
                _narrow_product(node, table)
            else:
                quick.append(str(node.name))
    RemoveUnusedNodesPass()(program)
    return _whole_numbers(program, quick) if quick else program


def weight_of(node: onnx_ir.Node, place: int) -> np.ndarray | None:
    """Return the constant matrix a lookup or a product uses, (V, H) or (K, N); None without one."""
    if node.op_type not in ("Gather", "MatMul", "Gemm"):
        return None
    value, turned = node.inputs[place], False
    before = value.producer() if value is not None else None
    if before is not None and before.op_type == "Transpose":
        # A table that is looked up in and multiplied by: input and output layer in one.
        value, turned = before.inputs[0], True
    if value is None or value.const_value is None or value.dtype != onnx_ir.DataType.FLOAT:
        return None
    found: np.ndarray = value.const_value.numpy()
    numbers = {name: attribute.value for name, attribute in node.attributes.items()}
    if found.ndim != 2 or numbers.get("axis", 0) != 0:
        return None
    if numbers.get("alpha", 1.0) != 1 or numbers.get("beta", 1.0) != 1 or numbers.get("transA"):
        return None
    return found.T if bool(numbers.get("transB")) != turned else found


def in_rows(table_VH: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a table in 8 bits, (V, H), and what each row is to be multiplied by, (V, 1)."""
    scales_V1 = np.abs(table_VH).max(axis=1, keepdims=True).astype(np.float32) / LARGEST
    safe_V1 = np.where(scales_V1 == 0, np.float32(1), scales_V1)
    return np.rint(table_VH / safe_V1).astype(np.int8), scales_V1


def in_blocks(weight_KN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a product's weights in 8 bits, (N, J, 64) around 128, and their scales, (N, J)."""
    num_inputs, num_outputs = weight_KN.shape
    padded_NK = np.pad(weight_KN.T, ((0, 0), (0, -num_inputs % BLOCK)))
    blocks_NJ = padded_NK.reshape(num_outputs, -1, BLOCK)
    scales_NJ = np.abs(blocks_NJ).max(axis=2).astype(np.float32) / LARGEST
    safe_NJ = np.where(scales_NJ == 0, np.float32(1), scales_NJ)
    return (np.rint(blocks_NJ / safe_NJ[..., None]) + 128).astype(np.uint8), scales_NJ


def _constant(node: onnx_ir.Node, name: str, array: np.ndarray) -> onnx_ir.Value:
    assert node.graph is not None
    full = f"{node.name}_int8_{name}"
    value = onnx_ir.Value(name=full, const_value=onnx_ir.tensor(array, name=full))
    value.dtype, value.shape = onnx_ir.DataType.from_numpy(array.dtype), onnx_ir.Shape(array.shape)
    node.graph.register_initializer(value)
    return value


def _narrow_table(node: onnx_ir.Node, table_VH: np.ndarray) -> None:
    """Look a row up in 8 bits and multiply it by its own scale."""
    rows_VH, scales_V1 = in_rows(table_VH)
    places = node.inputs[1]
    tape = onnx_ir.tape.Tape()
    narrow = tape.op("Gather", [_constant(node, "rows", rows_VH), places], {"axis": 0})
    wide = tape.op("Cast", [narrow], {"to": onnx_ir.DataType.FLOAT})
    scale = tape.op("Gather", [_constant(node, "scales", scales_V1), places], {"axis": 0})
    _put(node, tape, tape.op("Mul", [wide, scale]))


def _narrow_product(node: onnx_ir.Node, weight_KN: np.ndarray) -> None:
    """Multiply by blocks of 8 bits; a layer's own addition follows."""
    blocks_NJ, scales_NJ = in_blocks(weight_KN)
    tape = onnx_ir.tape.Tape()
    values = [
        node.inputs[0],
        _constant(node, "blocks", blocks_NJ),
        _constant(node, "scales", scales_NJ),
    ]
    sizes = {
        "K": weight_KN.shape[0],
        "N": weight_KN.shape[1],
        "bits": 8,
        "block_size": BLOCK,
        "accuracy_level": ROUNDED_ACTIVATIONS,
    }
    output = tape.op("MatMulNBits", values, sizes, domain=ORT_DOMAIN)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        output = tape.op("Add", [output, node.inputs[2]])
    _put(node, tape, output)


def _put(node: onnx_ir.Node, tape: onnx_ir.tape.Tape, output: onnx_ir.Value) -> None:
    """Put new nodes in the place of one, under its output's name."""
    graph, old = node.graph, node.outputs[0]
    assert graph is not None
    for index, new in enumerate(tape.nodes):
        new.name = f"{node.name}_int8_{index}"
        for value in new.outputs:
            value.name = f"{new.name}_output"
    graph.insert_before(node, tape.nodes)
    name, output.shape, output.dtype = old.name, old.shape, onnx_ir.DataType.FLOAT
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    old.name, output.name = None, name


def _whole_numbers(program: onnx_ir.Model, names: list[str]) -> onnx_ir.Model:
    """Return a graph in which these products are whole-number ones, a scale per output."""
    from transformers.exporters.configs import ExportFormat
    from transformers.exporters.quantizers.quantizer_onnxruntime import (
        OnnxRuntimeDynamicConfig,
        OnnxRuntimeQuantizer,
    )

    chosen = OnnxRuntimeDynamicConfig(
        op_types_to_quantize=["MatMul"], per_channel=True, nodes_to_quantize=names
    )
    found: onnx_ir.Model = OnnxRuntimeQuantizer(chosen).quantize(program, {}, ExportFormat.ONNX)
    return found


def widths(program: onnx_ir.Model) -> dict[str, int]:
    """Return how many weights are kept in how many bits."""
    counts = {"int8": 0, "float32": 0}
    for value in program.graph.initializers.values():
        if value.const_value is None:
            continue
        if value.dtype in (onnx_ir.DataType.INT8, onnx_ir.DataType.UINT8):
            counts["int8"] += value.const_value.size
        elif value.dtype == onnx_ir.DataType.FLOAT:
            counts["float32"] += value.const_value.size
    return counts
