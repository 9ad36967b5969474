"""Settings of ``evaluate`` and the registry of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from llmwright.core.config import Config, Input, Name
from llmwright.core.registry import Registry
from llmwright.evaluation.gate import parse_gate, read_condition
from llmwright.inference.remote.elsewhere import ANYWHERE

if TYPE_CHECKING:
    from llmwright.evaluation.metrics.metric import Metric

_METRICS = "llmwright.evaluation.metrics"

METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "accuracy": f"{_METRICS}.classification:accuracy",
        "subset_accuracy": f"{_METRICS}.classification:subset_accuracy",
        "precision_micro": f"{_METRICS}.classification:precision_micro",
        "precision_macro": f"{_METRICS}.classification:precision_macro",
        "precision_weighted": f"{_METRICS}.classification:precision_weighted",
        "recall_micro": f"{_METRICS}.classification:recall_micro",
        "recall_macro": f"{_METRICS}.classification:recall_macro",
        "recall_weighted": f"{_METRICS}.classification:recall_weighted",
        "f1_micro": f"{_METRICS}.classification:f1_micro",
        "f1_macro": f"{_METRICS}.classification:f1_macro",
        "f1_weighted": f"{_METRICS}.classification:f1_weighted",
        "roc_auc": f"{_METRICS}.ranking:roc_auc",
        "pr_auc": f"{_METRICS}.ranking:pr_auc",
        "seqeval_f1": f"{_METRICS}.tagging:seqeval_f1",
        "seqeval_precision": f"{_METRICS}.tagging:seqeval_precision",
        "seqeval_recall": f"{_METRICS}.tagging:seqeval_recall",
        "seqeval_f1_macro": f"{_METRICS}.tagging:seqeval_f1_macro",
        "seqeval_f1_strict": f"{_METRICS}.tagging:seqeval_f1_strict",
        "token_accuracy": f"{_METRICS}.tagging:token_accuracy",
        "exact_match": f"{_METRICS}.matching:exact_match",
        "squad_exact_match": f"{_METRICS}.matching:squad_exact_match",
        "squad_f1": f"{_METRICS}.matching:squad_f1",
        "bleu": f"{_METRICS}.translation:bleu",
        "chrf": f"{_METRICS}.translation:chrf",
        "chrf++": f"{_METRICS}.translation:chrf_plus_plus",
        "rouge1": f"{_METRICS}.overlap:rouge1",
        "rouge2": f"{_METRICS}.overlap:rouge2",
        "rougeL": f"{_METRICS}.overlap:rouge_l",
        "rougeLsum": f"{_METRICS}.overlap:rouge_lsum",
        "perplexity": f"{_METRICS}.language_model:perplexity",
        "loss": f"{_METRICS}.language_model:loss",
        "bits_per_byte": f"{_METRICS}.language_model:bits_per_byte",
        "masked_accuracy": f"{_METRICS}.language_model:masked_accuracy",
        "preference_accuracy": f"{_METRICS}.preference:preference_accuracy",
        "pearson": f"{_METRICS}.regression:pearson",
        "spearman": f"{_METRICS}.regression:spearman",
        "mse": f"{_METRICS}.regression:mse",
        "rmse": f"{_METRICS}.regression:rmse",
        "mae": f"{_METRICS}.regression:mae",
    },
)

MetricName = Annotated[str, Name(METRICS)]


class EvaluateConfig(Config):
    """How a model is measured on a dataset."""

    model: Annotated[str | None, Input("model|export", elsewhere=ANYWHERE)] = None
    """The model to measure: an artifact id, a step's name, a folder, or the address of a server
    (`http://localhost:8000#name`). The newest one the project made when not given."""

    dataset: Annotated[str | None, Input("dataset")] = None
    """The prepared dataset to measure it on: an artifact id, a step's name or a folder. The newest
    one the project made when not given."""

    split: str | None = None
    """The part of the dataset that is measured: train, validation or test. Without it, test where
    the dataset has one, else validation; the report says which."""

    metrics: list[MetricName] | None = None
    """Names of the metrics to compute. Without it, those the task suggests."""

    gate: dict[MetricName, str] = Field(default_factory=dict)
    """Conditions the model must meet, metric by metric, such as `{accuracy: ">= 0.9"}`; `>=`, `>`,
    `<=` and `<` are understood, and `%` is a share of a metric's largest value. If one does not
    hold, the report is kept and the command ends with exit code 1."""

    num_bootstrap: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """How many resamples of the rows the intervals come from. 1000 makes the ends of a 95 %
    interval steady; 0 leaves intervals out. Metrics that only exist as a whole, such as a plugin's
    function, use at most 100."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Share of resamples that lie inside an interval. 0.95 is what papers report."""

    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the resamples and of the choice of rows under max_rows: the same seed gives the same
    report."""

    max_rows: Annotated[int | None, Field(ge=1)] = None
    """Measure at most this many rows, drawn by the seed. All rows when not given."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Rows the model answers at once. It changes speed and memory, not the figures."""

    positive_label: str | None = None
    """With exactly two labels, the one that curves and AUC call positive. The last label in the
    model's order when not given."""

    @field_validator("gate")
    @classmethod
    def _gate_can_be_read(cls, gate: dict[str, str]) -> dict[str, str]:
        from llmwright.evaluation.metrics.metric import as_metric

        for metric, text in gate.items():
            _, bound, percent = read_condition(metric, text)
            # Loading a metric is slow, and up to 1 every number means something.
            if percent or bound > 1:
                parse_gate({metric: text}, {metric: as_metric(metric, METRICS.get(metric)).scale})
        return gate
