"""The operation `verify`: is what stands there still the model that was trained?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmwright.core import artifacts, files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, InputError, LLMwrightError
from llmwright.core.locale import language, text
from llmwright.core.pipeline import by_reference
from llmwright.core.project import Project
from llmwright.core.runs import Run
from llmwright.inference.config import VerifyConfig
from llmwright.inference.endpoint import Endpoint
from llmwright.inference.engines.opening import open_tokenizer
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.page import parity_page, shown
from llmwright.inference.proof.parity import Check, ParityTable, compare, limits_for
from llmwright.inference.proof.probes import Probes
from llmwright.inference.proof.remote import compare_remote
from llmwright.inference.remote.elsewhere import is_address
from llmwright.models.pickled import pickles_allowed
from llmwright.tasks.contract import Contract

REPORT_FILE = "verify.json"
PAGE_FILE = "report.html"


def verify(config: VerifyConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Run the recorded probes on a checkpoint, an export or an address, and save the table.

    Returns:
        A report with ``verify.json`` and ``report.html``.

    Raises:
        CheckError: A comparison does not hold (``INFER-020``); the report is saved before.
        InputError: The target cannot be found or asked, or no probes are there (``INFER-010``).
    """
    target = _target(config, inputs, run)
    if isinstance(target, str):
        table = _check_address(target, config, inputs)
    else:
        with pickles_allowed(config.allow_pickle):
            table = _check_folder(target, config, inputs, run)
    run.progress("verify", table.num_probes, table.num_recorded, "probes")
    name = _name_of(target, run.root)
    artifact = save_report(run, table, name)
    refuse_failed(table, name, artifact.path)
    done, total = table.num_probes, table.num_recorded
    run.notice(text("inference.verified", target=name, done=done, total=total))
    return artifact


def _name_of(target: str | Path, root: Path) -> str:
    """Return an address as it is, a folder as it is seen from the project."""
    if isinstance(target, str):
        return target
    folder, root = target.resolve(), root.resolve()
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)


def _target(config: VerifyConfig, inputs: dict[str, Artifact], run: Run) -> str | Path:
    """Return the address or the folder that is to be checked."""
    if config.target is None:
        if "model" not in inputs:
            raise InputError("INFER-015")
        return inputs["model"].path
    if is_address(config.target):
        return config.target
    folder = run.root / Path(config.target).expanduser()
    if folder.is_dir():
        return folder
    return by_reference(Project(run.root), config.target).path


def _check_address(url: str, config: VerifyConfig, inputs: dict[str, Artifact]) -> ParityTable:
    if "model" not in inputs:
        raise InputError("INFER-016", url=url)
    folder = inputs["model"].path
    probes, contract = Probes.open(folder), Contract.open(folder)
    key = os.environ.get(config.api_key_variable)
    endpoint = Endpoint(url, contract, config.served_model, key)
    # What a server says of itself: 8 bits answer otherwise than 32, and that is no fault.
    told = str(endpoint.card.get("number_format", "float32"))
    told = "url" if told == "float32" else told
    limits = limits_for(told, config.tolerance, config.min_agreement)
    try:
        tokenizer = open_tokenizer(folder)
        return compare_remote(endpoint, probes, tokenizer, limits, config.timeout_seconds)
    finally:
        endpoint.close()


def _check_folder(
    folder: Path, config: VerifyConfig, inputs: dict[str, Artifact], run: Run
) -> ParityTable:
    """Compare bytes with the manifest, then answers with the probes.

    The bytes come first: a flipped bit in a weight may be too small for any answer to show.
    """
    # A model that was named brings the probes; else the folder's own are run.
    origin = inputs["model"].path if config.model is not None else folder
    probes = Probes.open(origin)
    table = ParityTable(config.engine, "")
    try:
        predictor = Predictor.open(folder, config.engine)
        run.notice(predictor.choice)
        number_format = predictor.engine.number_format
        limits = limits_for(number_format, config.tolerance, config.min_agreement)
        try:
            table = compare(predictor, probes, limits, config.timeout_seconds)
        finally:
            predictor.close()
    except LLMwrightError as error:
        # What cannot be loaded has failed like what answers wrongly; the bytes may tell why.
        table.equal("loads", str(error), "")
    if (folder / artifacts.MANIFEST).is_file():
        table.checks.insert(0, _bytes_check(folder))
    return table


def _bytes_check(folder: Path) -> Check:
    try:
        artifacts.check(Artifact.open(folder))
    except CheckError as error:
        # A damaged manifest vouches for no file.
        return Check("files_intact", str(error.values.get("files", artifacts.MANIFEST)), "", False)
    return Check("files_intact", "", "", True)


def save_report(run: Run, table: ParityTable, target: str) -> Artifact:
    """Save a table as a report: JSON and a page."""
    with run.draft("report") as draft:
        files.write_json(draft.path / REPORT_FILE, {"target": target, **table.to_json()})
        page = parity_page(table, target, language())
        (draft.path / PAGE_FILE).write_text(page, encoding="utf-8")
        draft.metadata.update(
            {
                "operation": "verify",
                "target": target,
                "passed": table.passed,
                "parity": summary(table),
            }
        )
    assert draft.artifact is not None
    return draft.artifact


def summary(table: ParityTable) -> dict[str, Any]:
    """Return a table in a few values, as manifests and other reports hold it."""
    return {
        "engine": table.engine,
        "number_format": table.number_format,
        "probes": table.num_probes,
        "recorded": table.num_recorded,
        "passed": table.passed,
        "not_verified": table.not_verified,
        "checks": {check.name: check.value for check in table.checks},
        "limits": {check.name: check.limit for check in table.checks},
        "failed": [check.name for check in table.failed],
    }


def refuse_failed(table: ParityTable, target: str, report: Path) -> None:
    """Raise when a comparison does not hold.

    Raises:
        CheckError: ``INFER-020``, with each comparison that failed.
    """
    if not table.passed:
        reasons = describe(table.failed)
        raise CheckError("INFER-020", target=target, reasons=reasons, report=report / PAGE_FILE)


def describe(checks: Sequence[Check]) -> str:
    """Return comparisons in words: what, found, accepted."""
    return text("inference.between_checks").join(_in_words(check) for check in checks)


def _in_words(check: Check) -> str:
    name = text(f"inference.check_{check.name}")
    if check.limit == "":
        return text("inference.found", name=name, found=check.value)
    return text(
        "inference.found_limit", name=name, found=shown(check.value), limit=shown(check.limit)
    )
