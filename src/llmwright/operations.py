"""THE TABLE: every operation of LLMwright, one row each.

The command line, the Python API, the project file and its JSON Schema are views of it. A row is
strings only; its config class and its function are imported when they are needed.
"""

from __future__ import annotations

from llmwright.core.operation import Operation, Table

_ROWS = (
    Operation(
        verb="prepare",
        makes="dataset",
        config="llmwright.data.config:PrepareConfig",
        function="llmwright.data.prepare:prepare",
        summary="Import files, recognise their format, clean, report and split.",
        argument="source",
        version=2,
    ),
    Operation(
        verb="tokenize",
        makes="tokenizer",
        config="llmwright.tokenization.config:TokenizeConfig",
        function="llmwright.tokenization.tokenize:tokenize",
        summary="Train a tokenizer on a dataset, or import and measure one.",
    ),
    Operation(
        verb="train",
        makes="model",
        config="llmwright.training.config:TrainConfig",
        function="llmwright.training.train:train",
        compare="llmwright.training.following.comparison:compare",
        summary="Train a model from scratch or fine-tune one.",
    ),
    Operation(
        verb="tune",
        makes="study",
        config="llmwright.tuning.config:TuneConfig",
        function="llmwright.tuning.tune:tune",
        summary="Search for the settings of train that make the best model, and keep that model.",
        compare="llmwright.tuning.comparison:compare",
        base="train",
    ),
    Operation(
        verb="evaluate",
        makes="report",
        config="llmwright.evaluation.config:EvaluateConfig",
        function="llmwright.evaluation.evaluate:evaluate",
        summary="Measure a model on held-out rows, with intervals, errors and a gate.",
        argument="model",
    ),
    Operation(
        verb="compress",
        makes="model",
        config="llmwright.compression.config:CompressConfig",
        function="llmwright.compression.compress:compress",
        summary="Merge an adapter into its base, and prove that it answers alike.",
        argument="model",
    ),
    Operation(
        verb="export",
        makes="export",
        config="llmwright.export.config:ExportConfig",
        function="llmwright.export.export:export",
        summary="Write a model for another engine and prove that it answers alike.",
        argument="model",
    ),
    Operation(
        verb="verify",
        makes="report",
        config="llmwright.inference.config:VerifyConfig",
        function="llmwright.inference.proof.verify:verify",
        summary="Run a model's own probes on a checkpoint, an export or an address.",
        argument="target",
        reuse=False,
    ),
    Operation(
        verb="serve",
        makes="",
        config="llmwright.serving.config:ServeConfig",
        function="llmwright.serving.serve:serve",
        summary="Answer over HTTP.",
        argument="model",
        step=False,
    ),
)

OPERATIONS: Table = {row.verb: row for row in _ROWS}
