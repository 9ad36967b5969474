"""The operation `tokenize`: train or take a tokenizer, measure it, save it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.data.records import Dataset
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig, located
from llmwright.tokenization.load import load_for_config
from llmwright.tokenization.measure import measure, sample
from llmwright.tokenization.special import CHATML, Frame, Framing
from llmwright.tokenization.steps import steps_of
from llmwright.tokenization.texts import TEXT_COLUMNS, TrainingTexts, has_chat, texts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPORT_FILE = "report.json"
# A higher share of unknown tokens on held-out text is worth a warning.
MAX_UNKNOWN_RATE = 0.05

# What a trained tokenizer puts around a text, by the dataset's task.
FRAMES: dict[str, Frame] = {
    "text-generation": "none",
    "text-classification": "cls_sep",
    "text-regression": "cls_sep",
    "token-classification": "cls_sep",
    "seq2seq": "eos",
}


def tokenize(config: TokenizeConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Return a tokenizer artifact: a folder that AutoTokenizer loads, and ``report.json``.

    Args:
        config: What to train or take.
        inputs: ``dataset``; may be missing for `load`.
        run: Where progress and the artifact go.

    Raises:
        ConfigError: Training without a dataset (``TOK-001``), or an option the kind cannot use.
        InputError: No text to train on (``TOK-005``), or a finished tokenizer cannot be read.
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    source = inputs.get("dataset")
    dataset = Dataset.open(source.path) if source is not None else None
    framing = _framing(config, dataset, run.root)
    tokenizer = build_tokenizer(config, dataset, framing, run)
    report = _report(config, tokenizer, dataset, run)
    with run.draft("tokenizer") as draft:
        tokenizer.save_pretrained(draft.path)
        files.write_json(draft.path / REPORT_FILE, report)
        draft.metadata.update(_summary(report))
        _tell(report, run)
    assert draft.artifact is not None
    return draft.artifact


def build_tokenizer(
    config: TokenizeConfig, dataset: Dataset | None, framing: Framing, run: Run
) -> PreTrainedTokenizerFast:
    """Return the tokenizer a config asks for, trained on the dataset's training split."""
    if config.kind == "load":
        return load_for_config(config, (), framing, run.root)
    if dataset is None:
        raise ConfigError("TOK-001", where="tokenize.dataset", kind=config.kind)
    run.progress("train", 0, dataset.info.counts.get("train"), "rows")
    texts = TrainingTexts(dataset, lambda done, total: run.progress("train", done, total, "rows"))
    if not any(text.strip() for text in texts):
        raise InputError("TOK-005", path=dataset.path)
    return TOKENIZERS.get(config.kind)(config, texts, framing)


def _framing(config: TokenizeConfig, dataset: Dataset | None, root: Path) -> Framing:
    frame = config.framing
    if frame == "auto":
        frame = FRAMES[dataset.info.task] if dataset is not None else "none"
    chat = dataset is not None and has_chat(dataset.info.row_type)
    template = _template(config, chat, root)
    return Framing(config.special, frame, template)


def _template(config: TokenizeConfig, chat: bool, root: Path) -> str | None:
    choice = config.chat_template
    if choice == "auto":
        # A finished tokenizer keeps the template its model was trained with.
        return CHATML if chat and config.kind != "load" else None
    if choice in ("chatml", "none"):
        return CHATML if choice == "chatml" else None
    path = located(choice, root)
    if not path.is_file():
        raise ConfigError("TOK-006", where="tokenize.chat_template", path=path)
    return path.read_text(encoding="utf-8")


def _report(
    config: TokenizeConfig,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset | None,
    run: Run,
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "kind": config.kind,
        "source": config.source,
        "vocab_size": len(tokenizer),
        "special_tokens": dict(tokenizer.special_tokens_map),
        "text_steps": steps_of(tokenizer),
        "splits": {},
    }
    if dataset is None:
        return report
    for split in [name for name in ("train", "validation") if name in dataset.splits]:
        run.progress("measure", len(report["splits"]), len(dataset.splits), "splits")
        row_type = dataset.info.row_type
        indices = sample(range(dataset.info.counts[split]))
        rows = dataset.stream(split, TEXT_COLUMNS[row_type], indices)
        texts = sample([text for row in rows for text in texts_of(row, row_type)])
        report["splits"][split] = measure(tokenizer, texts)
    return report


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "source" or value}


def _tell(report: dict[str, Any], run: Run) -> None:
    run.notice(text("tokenization.made", kind=report["kind"], vocab_size=report["vocab_size"]))
    for split, figures in report["splits"].items():
        if not figures["num_tokens"]:
            continue
        sentence = text(
            "tokenization.measured",
            split=split,
            per_character=f"{figures['tokens_per_character']:.3f}",
            unknown=f"{figures['unknown_rate']:.2%}",
            p95=f"{figures['tokens_per_text']['p95']:.0f}",
            longest=figures["tokens_per_text"]["max"],
        )
        run.notice(sentence, "warning" if figures["unknown_rate"] > MAX_UNKNOWN_RATE else "info")
    rates = [figures["unknown_rate"] or 0 for figures in report["splits"].values()]
    if max(rates, default=0) > MAX_UNKNOWN_RATE:
        run.notice(text("tokenization.many_unknown"), "warning")
