"""The operation ``prepare``: from files of any common format to a dataset artifact."""

from __future__ import annotations

import shutil

from llmwright.core.artifacts import Artifact
from llmwright.core.files import write_json
from llmwright.core.locale import text as sentence
from llmwright.core.runs import Run
from llmwright.data import split
from llmwright.data.clean import RowCleaner
from llmwright.data.config import PrepareConfig
from llmwright.data.intake import Intake, canonical_rows
from llmwright.data.readers.record import Rejection
from llmwright.data.recognise import Recognised, is_unnamed, recognise
from llmwright.data.records import INFO_FILE, REJECTED_FILE, DatasetInfo
from llmwright.data.report import Report
from llmwright.data.spool import Row, Spool

_PROGRESS_ROWS = 2000
_SPLIT_KEYS = {"seed", "group", "leaks"}


def prepare(config: PrepareConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Read, recognise, clean, report and split; save the dataset.

    Args:
        config: What the user set.
        inputs: Nothing; this is where data enters.
        run: Where to report and save.

    Returns:
        A ``dataset`` artifact, byte for byte the same for the same files and config.

    Raises:
        ConfigError, InputError: See the functions called here; one error for one problem.
    """
    intake = Intake(config, run.root, run.notice)
    cleaner = RowCleaner(config.clean)
    with Report(run.folder / REJECTED_FILE) as report:
        found = _recognise(intake, config, report, run)
        ledger = split.Ledger(found.shape.row_type)
        with Spool(run.folder / "spool", found.shape.row_type, config.controls) as spool:
            for row, given in canonical_rows(intake, found, config, cleaner, report):
                spool.add(row)
                ledger.add(row, given)
                _tell_progress(spool, intake, run)
            report.check(intake.num_records, config.max_rejected)
            return _save(config, run, intake, found, cleaner, report, ledger, spool)


def _recognise(intake: Intake, config: PrepareConfig, report: Report, run: Run) -> Recognised:
    sample = intake.sample(report)
    if not sample:
        # Whatever is allowed, no row is left: this stops.
        report.check(intake.num_records, config.max_rejected)
    return recognise(sample, intake.files[0].file.name, config, run.notice)


def _tell_progress(spool: Spool, intake: Intake, run: Run) -> None:
    if spool.num_rows % _PROGRESS_ROWS == 0:
        run.progress("prepare", *intake.progress(), "MB")


def _save(
    config: PrepareConfig,
    run: Run,
    intake: Intake,
    found: Recognised,
    cleaner: RowCleaner,
    report: Report,
    ledger: split.Ledger,
    spool: Spool,
) -> Artifact:
    method = split.method_of(ledger, config.split, found.shape.name)
    shares = split.shares_of(ledger, config.split)
    only = split.only_text(ledger, method, shares)
    splits = split.share_out(
        ledger, config.split, method, {} if only is not None else shares, run.notice
    )
    if only is not None:
        splits[only : only + 1] = _cut_text(spool, only, shares)
    split.check_labels(ledger, splits, run.notice)
    controls = split.controls_of(ledger, splits, run.notice)

    def dropped(row: Row) -> None:
        detail = "the same text or group is in validation or test"
        report.remove(row["source"], Rejection(row["row"], None, "leak", detail))

    with run.draft("dataset") as draft:
        counts = spool.write(splits, draft.path, dropped)
        report.flush()
        shutil.copyfile(report.path, draft.path / REJECTED_FILE)
        info = DatasetInfo(
            task=found.task,
            row_type=found.shape.row_type,
            shape=found.shape.name,
            fields=_fields(found),
            labels=ledger.label_names(),
            multi_label=found.shape.name == "multi_label",
            numbers=split.numbers_of(ledger, splits),
            controls=controls,
            preprocessing=cleaner.preprocessing,
            counts=counts,
            num_records=intake.num_records,
            num_rejected=report.rejected.total(),
            num_removed=report.removed.total(),
            reasons=report.reasons(),
            sources=intake.sources(),
            split={
                "method": method,
                "shares": shares,
                **config.split.model_dump(include=_SPLIT_KEYS),
            },
        )
        write_json(draft.path / INFO_FILE, info.model_dump(mode="json"))
        read = [{"path": source.path, "sha256": source.sha256} for source in info.sources]
        known = info.model_dump(include={"task", "row_type", "counts", "num_rejected"})
        draft.metadata.update(**known, sources=read)
        report.summarise(intake.num_records, run.notice)
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        run.notice(sentence("data.split", method=method, counts=shown))
    assert draft.artifact is not None
    return draft.artifact


def _cut_text(spool: Spool, index: int, shares: split.Shares) -> split.Splits:
    """Cut the only training text; return the splits of its parts."""
    names: split.Splits = []

    def pieces(row: Row) -> list[Row]:
        parts = split.cut_text(row["text"], shares)
        names.extend(parts)
        return [{**row, "text": part} for part in parts.values()]

    spool.cut(index, pieces)
    return names


def _fields(found: Recognised) -> dict[str, str]:
    """Return our column → the user's; a column without a name goes by ours."""
    fields = found.shape.fields(found.columns)
    return {ours: ours if is_unnamed(theirs) else theirs for ours, theirs in fields.items()}
