"""Graphs of 8 bits are small, close to their models, and say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest

from llmwright.core.events import Notice
from llmwright.export.int8 import BLOCK, in_blocks, in_rows, to_int8, widths
from llmwright.inference.engines.onnx_engine import Graph
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare
from llmwright.inference.proof.probes import Probes

WEIGHTS = np.random.default_rng(0).normal(size=(100, 48)).astype(np.float32)


def test_rows_and_blocks_are_within_half_a_step() -> None:
    table = WEIGHTS * np.geomspace(1e-3, 1e3, 100, dtype=np.float32)[:, None]
    rows, scales = in_rows(table)
    assert rows.dtype == np.int8
    assert (np.abs(rows * scales - table) <= scales / 2 * 1.01).all()
    blocks, scales_NJ = in_blocks(WEIGHTS)
    assert blocks.shape == (48, 2, BLOCK)
    back = ((blocks.astype(np.float32) - 128) * scales_NJ[..., None]).reshape(48, -1)[:, :100].T
    assert np.abs(back - WEIGHTS).max() <= scales_NJ.max() / 2 * 1.01
    # Nothing becomes nothing, not "not a number".
    assert not in_rows(np.zeros((3, 4), dtype=np.float32))[0].any()
    assert (in_blocks(np.zeros((3, 4), dtype=np.float32))[0] == 128).all()


def graph_of(*ops: str) -> onnx_ir.Model:
    """A graph that looks up a vector and multiplies it once for each name."""
    rng = np.random.default_rng(1)
    square = rng.normal(size=(64, 64)).astype(np.float32) / 8
    helper = onnx.helper
    table = rng.normal(size=(50, 64)).astype(np.float32)
    values = [onnx.numpy_helper.from_array(table, "table")]
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x0"], "lookup")]
    for index, op in enumerate(ops):
        values.append(onnx.numpy_helper.from_array(square, f"w{index}"))
        names = [f"x{index}", f"w{index}"]
        extra: dict[str, Any] = {}
        if op == "Gemm":
            values.append(onnx.numpy_helper.from_array(table[0], f"b{index}"))
            names, extra = [*names, f"b{index}"], {"transB": 1}
        nodes.append(helper.make_node(op, names, [f"x{index + 1}"], f"layer{index}", **extra))
    end = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["T"])],
        [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["T", 64])],
        values,
    )
    opset = [helper.make_opsetid("", 20)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return onnx_ir.from_proto(made)


def answer(program: onnx_ir.Model, path: Path) -> np.ndarray:
    onnx_ir.save(program, str(path))
    graph = Graph(path)
    found: np.ndarray = graph.run({"ids": np.arange(20)})[graph.outputs[0]].numpy()
    return found


@pytest.mark.parametrize("generates", [True, False])
@pytest.mark.parametrize("ops", [("MatMul",), ("Gemm",), ("MatMul", "Gemm", "MatMul")])
def test_products_stay_close(ops: tuple[str, ...], generates: bool, tmp_path: Path) -> None:
    expected = answer(graph_of(*ops), tmp_path / "wide.onnx")
    narrow = to_int8(graph_of(*ops), generates, 2)
    counts = widths(narrow)
    assert counts["int8"] > 20 * counts["float32"]
    found = answer(narrow, tmp_path / "narrow.onnx")
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_the_layer_of_the_labels_stays(tmp_path: Path) -> None:
    kept = widths(to_int8(graph_of("MatMul"), False, 64))
    assert kept["float32"] >= 64 * 64
    assert kept["int8"] == 50 * 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["classifier", "pairs", "tagger", "filler", "recurrent", "decoder", "seq2seq", "embedder"],
)
def test_all_tasks_are_exported_in_8_bits(name: str, bench: Any) -> None:
    exported = bench.export(name, "int8")
    facts = exported.metadata
    assert facts["number_format"] == "int8"
    assert facts["parity"]["number_format"] == "int8"
    assert facts["weights"]["int8"] > facts["weights"]["float32"]
    assert any(isinstance(e, Notice) and "int8" in e.text for e in bench.events)
    predictor = Predictor.open(exported.path)
    assert predictor.engine.number_format == "int8"
    assert compare(predictor, Probes.open(exported.path)).passed
    row = bench.rows(name)[0]
    assert set(next(predictor.predict([row]))) == set(
        next(Predictor.open(bench.model(name).path).predict([row]))
    )


@pytest.mark.slow
def test_a_written_text_does_not_depend_on_its_neighbours(bench: Any) -> None:
    predictor = Predictor.open(bench.export("decoder", "int8").path)
    rows = bench.rows("decoder")
    together = list(predictor.predict(rows, max_new_tokens=20))
    assert together == [next(predictor.predict([row], max_new_tokens=20)) for row in rows]
