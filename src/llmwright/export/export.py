"""The operation `export`: convert in a process of its own, prove, and save with the proof."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from llmwright.core import errors, files
from llmwright.core.artifacts import Artifact, Draft
from llmwright.core.errors import CheckError, LLMwrightError, ResourceError
from llmwright.core.locale import language, text
from llmwright.core.runs import Run
from llmwright.export.config import ExportConfig
from llmwright.export.published import proof_of
from llmwright.export.support import refuse_unsupported
from llmwright.export.worker import PROGRESS_FILE, RESULT_FILE
from llmwright.inference.engines.exported import EXPORT_FILE
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.page import parity_page
from llmwright.inference.proof.parity import ParityTable, compare, limits_for
from llmwright.inference.proof.probes import PROBES_FILE, TENSORS_FILE, Probes
from llmwright.inference.proof.verify import PAGE_FILE, describe, save_report, summary
from llmwright.models.adapters.base import Base, is_adapter
from llmwright.tasks.contract import CONTRACT_FILE

# What of a model's folder an export needs besides its graphs: everything but the weights.
KEPT = (
    CONTRACT_FILE,
    PROBES_FILE,
    TENSORS_FILE,
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "README.md",
)
PARITY_FILE = "parity.json"
POLL_SECONDS = 0.1
LOG_LINES = 5
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "gguf", "safetensors")
# What of export.json the manifest says, too.
TOLD = ("weights", "context", "vocabulary", "tokenizer", "modelfile")
NOT_INSTALLED = "INFER-040"


def export(config: ExportConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Convert a model, run its probes on the result, and save it with the parity table.

    Returns:
        Graphs, contract, tokenizer, probes, ``export.json``, ``parity.json`` and a page.

    Raises:
        CheckError: The result does not answer like the model (``EXPORT-001``); a report is saved.
        InputError: The model has no such form (``EXPORT-002`` and others), or no probes.
        ResourceError: The converting process died (``EXPORT-005``) or took too long
            (``EXPORT-006``).
    """
    source = inputs["model"].path
    # What cannot be done or proven is said before the work.
    refuse_unsupported(source, config.format.kind)
    proof = proof_of(source, run)
    probes = proof.probes
    if is_adapter(source):
        run.notice(text("export.merges", base=str(Base.open(source))))
    with run.draft("export") as draft:
        started = time.monotonic()
        info = convert(config, source, draft.path, run)
        seconds = time.monotonic() - started
        for name in KEPT:
            # What the format writes itself is newer than what lies beside the model.
            if (source / name).is_file() and not (draft.path / name).exists():
                shutil.copyfile(source / name, draft.path / name)
        proof.save(draft.path)
        info = {"format": config.format.kind, "number_format": config.format.number_format, **info}
        files.write_json(draft.path / EXPORT_FILE, info | {"versions": versions()})
        run.progress("parity", 0, len(probes.probes), "probes")
        table = check(config, draft.path, probes)
        run.progress("parity", table.num_probes, table.num_recorded, "probes")
        if table.failed:
            refuse(table, inputs["model"], run)
        _describe(draft, table, inputs["model"], info, seconds)
    assert draft.artifact is not None
    _say(draft.artifact, table, run)
    _say_others(info, run)
    return draft.artifact


def check(config: ExportConfig, folder: Path, probes: Probes) -> ParityTable:
    """Return the parity table of a finished conversion, run by its own engine.

    Where that engine is not installed the table says that nothing was proven.
    """
    try:
        predictor = Predictor.open(folder, config.format.engine)
    except ResourceError as error:
        if error.code != NOT_INSTALLED:
            raise
        return ParityTable(
            config.format.engine,
            config.format.number_format,
            num_recorded=len(probes.probes),
            not_verified=error.message,
        )
    limits = limits_for(config.format.number_format, config.tolerance, config.min_agreement)
    return compare(predictor, probes, limits)


def refuse(table: ParityTable, model: Artifact, run: Run) -> None:
    """Save the table as a report and raise.

    Raises:
        CheckError: ``EXPORT-001``.
    """
    report = save_report(run, table, f"export of {model.id}")
    reasons = describe(table.failed)
    raise CheckError("EXPORT-001", reasons=reasons, report=report.path / PAGE_FILE)


def _describe(
    draft: Draft, table: ParityTable, model: Artifact, info: dict[str, Any], seconds: float
) -> None:
    """Write the table into the draft, and what its manifest says."""
    files.write_json(draft.path / PARITY_FILE, table.to_json())
    page = parity_page(table, f"{info['format']} · {model.id}", language())
    (draft.path / PAGE_FILE).write_text(page, encoding="utf-8")
    sizes = {p.name: p.stat().st_size for p in sorted(draft.path.iterdir()) if p.is_file()}
    for key in ("task", "name"):
        if key in model.metadata:
            draft.metadata[key] = model.metadata[key]
    draft.metadata.update(
        {
            "model": model.id,
            "format": info["format"],
            "number_format": info["number_format"],
            "graphs": info.get("graphs", {}),
            **{name: info[name] for name in TOLD if name in info},
            "size_bytes": sum(sizes.values()),
            "sizes": sizes,
            "versions": versions(),
            "export_seconds": round(seconds, 1),
            "parity": summary(table),
        }
    )


def versions() -> dict[str, str]:
    """Return the versions of the libraries that wrote the files."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _say_others(info: dict[str, Any], run: Run) -> None:
    """Say what other programs will find in the file, which nothing here can run."""
    if info["format"] == "gguf" and info["vocabulary"] is None:
        run.notice(text("export.no_vocabulary"))
    tokens = info.get("tokenizer")
    if tokens is not None and tokens["equal"] < tokens["compared"]:
        other = tokens["compared"] - tokens["equal"]
        example = tokens["example"][:60]
        run.notice(
            text("export.other_tokens", other=other, compared=tokens["compared"], example=example)
        )
    if "modelfile" in info:
        has_template = info["modelfile"]["template"]
        run.notice(text("export.modelfile" if has_template else "export.modelfile_bare"))


def _say(artifact: Artifact, table: ParityTable, run: Run) -> None:
    if table.not_verified:
        facts = artifact.metadata
        run.notice(
            text(
                "export.not_verified",
                format=facts["format"],
                number_format=facts["number_format"],
                megabytes=f"{facts['size_bytes'] / 1e6:.1f}",
                seconds=f"{facts['export_seconds']:.0f}",
                reason=table.not_verified,
            )
        )
        return
    names = ("logit_difference", "log_prob_difference", "vector_difference")
    difference = next(v for name in names if (v := table.value(name)) is not None)
    agreement = ""
    for name in ("label_agreement", "token_agreement"):
        if (share := table.value(name)) is not None:
            agreement = text(f"export.{name}", percent=f"{100 * share:.1f}")
    run.notice(
        text(
            "export.done",
            format=artifact.metadata["format"],
            number_format=artifact.metadata["number_format"],
            agreement=agreement,
            megabytes=f"{artifact.metadata['size_bytes'] / 1e6:.1f}",
            seconds=f"{artifact.metadata['export_seconds']:.0f}",
            difference=f"{difference:.1g}",
            done=table.num_probes,
        )
    )


def convert(config: ExportConfig, source: Path, target: Path, run: Run) -> dict[str, Any]:
    """Run the worker and return what it says about the files it wrote.

    Raises:
        InputError: What the worker refuses.
        ResourceError: It died (``EXPORT-005``) or took too long (``EXPORT-006``).
    """
    # A desk of its own: the worker of a killed run may still be writing to the one before.
    for earlier in run.folder.glob("desk-*"):
        shutil.rmtree(earlier, ignore_errors=True)
    desk = Path(tempfile.mkdtemp(prefix="desk-", dir=run.folder))
    request = {
        "source": str(source),
        "target": str(target),
        "root": str(run.root),
        "format": config.format.model_dump(mode="json"),
    }
    files.write_json(desk / "request.json", request)
    run.notice(text("export.begins", format=config.format.kind))
    argv = [sys.executable, "-m", "llmwright.export.worker", str(desk / "request.json")]
    with (desk / "log.txt").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait(process, desk, config.timeout_seconds, run)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return _result(desk, process.returncode)


def _wait(process: subprocess.Popen[bytes], desk: Path, limit: float, run: Run) -> None:
    """Wait for the worker and pass its progress on."""
    started = time.monotonic()
    said: dict[str, Any] = {}
    while process.poll() is None:
        if time.monotonic() - started > limit:
            raise ResourceError("EXPORT-006", seconds=round(limit))
        if (desk / PROGRESS_FILE).is_file():
            found = files.read_json(desk / PROGRESS_FILE)
            if found != said:
                run.progress("export", found["done"], found["total"], "graphs")
                said = found
        time.sleep(POLL_SECONDS)
    if said:
        run.progress("export", said["total"], said["total"], "graphs")


def _result(desk: Path, code: int) -> dict[str, Any]:
    if not (desk / RESULT_FILE).is_file():
        lines = (desk / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        last = " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip())
        raise ResourceError("EXPORT-005", status=code, last=last[-400:], log=desk / "log.txt")
    result = files.read_json(desk / RESULT_FILE)
    if "error" in result:
        raise _error(result["error"])
    info: dict[str, Any] = result["info"]
    return info


def _error(told: dict[str, Any]) -> LLMwrightError:
    """Return the worker's error as it was raised there."""
    found = getattr(errors, str(told.get("class", "InputError")))
    error: LLMwrightError = found(told["code"], **told["values"])
    return error
