"""The model card: what a model is, what it learned from and how well, in one page of Markdown."""

from __future__ import annotations

from typing import Any

from llmwright.data.records import DatasetInfo
from llmwright.tasks.contract import Contract


def model_card(contract: Contract, info: DatasetInfo, record: dict[str, Any]) -> str:
    """Return the text of ``README.md``.

    Args:
        contract: What the model promises.
        info: The data it learned from.
        record: What ``training.json`` holds.
    """
    sections = [
        _front_matter(contract),
        f"# {contract.task}: {contract.model_type}, {contract.num_parameters:,} parameters",
        "Trained with LLMwright. `contract.json` says how to ask it, `probes.json` checks it.",
        "## Data",
        _bullets(_data(contract, info)),
        "## Training",
        _bullets(_training(record)),
    ]
    if record["best"]:
        sections += ["## Validation split", _bullets(_measured(record["best"]))]
    if contract.labels:
        sections += ["## Labels", ", ".join(f"`{label}`" for label in contract.labels)]
    sections += [
        "## Limits",
        "The figures hold for data like the above. The licence of the data, and of a base model, "
        "decides how the model may be used.",
    ]
    return "\n\n".join(sections) + "\n"


# What the hub calls our tasks, where otherwise.
HUB_TAGS = {
    "seq2seq": "text2text-generation",
    "text-regression": "text-classification",
    "reward": "text-classification",
}


def _front_matter(contract: Contract) -> str:
    tag = HUB_TAGS.get(contract.task, contract.task)
    return f"---\nlibrary_name: transformers\npipeline_tag: {tag}\ntags: [llmwright]\n---"


def _bullets(facts: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _data(contract: Contract, info: DatasetInfo) -> dict[str, Any]:
    counts = ", ".join(f"{count:,} {split}" for split, count in info.counts.items())
    lengths = contract.profile["length_tokens"]
    return {
        "Rows": counts,
        "Row type": contract.row_type,
        "Tokens per row": f"median {lengths['p50']:.0f}, longest {lengths['max']:.0f}",
        "Longest input of the model": f"{contract.max_length} tokens",
        "Cleaning that also runs at inference": ", ".join(
            str(step.get("kind", step)) for step in contract.preprocessing
        )
        or "none",
    }


def _training(record: dict[str, Any]) -> dict[str, Any]:
    resolved, config = record["resolved"], record["config"]
    return {
        "Start": resolved["model"].get("name") or resolved["model"]["kind"],
        "Objective": resolved["objective"]["kind"],
        "Adapter": config["adapter"]["kind"],
        "Optimizer": f"{config['optimizer']['kind']}, learning rate {resolved['lr']:g}, "
        f"schedule {config['schedule']['kind']}",
        "Length": f"{record['steps']:,} steps, {record['tokens']:,} tokens",
        "Precision": f"{resolved['precision']} on {resolved['device']}",
        "Seed": config["seed"],
    }


def _measured(best: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.4g}" for name, value in best.items()}
