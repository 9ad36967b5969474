"""Opening a model for users: what is damaged, or is another one, is refused before it answers.

An artifact's manifest vouches for every byte. A folder that was copied without it is asked its
first recorded probe instead, one pass through the model: labels in another order, another
template, another tokenizer and other weights all show in it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmwright.core import artifacts, files
from llmwright.core.errors import CheckError
from llmwright.core.events import Emit, unheard
from llmwright.core.locale import text
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare, limits_for
from llmwright.inference.proof.probes import PROBES_FILE, Probe, Probes
from llmwright.inference.proof.verify import describe

# About three seconds of reading; of larger models sizes are compared, and `verify` compares all.
MAX_HASHED_BYTES = 1 << 31


def open_sound(source: str | Path, engine: str = "auto", emit: Emit = unheard) -> Predictor:
    """Return the predictor of a model's or an export's folder that is what it was.

    Args:
        source: The folder.
        engine: A registered engine; ``auto`` takes the one the files are for.
        emit: Is told how it goes, where that takes long.

    Raises:
        CheckError: Files are not those of the manifest (``CORE-032``, ``CORE-033``), the tokenizer
            is another model's (``INFER-080``), or the first probe is answered otherwise
            (``INFER-081``).
        ConfigError, InputError: As `Predictor.open`.
    """
    folder = Path(source)
    known = (folder / artifacts.MANIFEST).is_file()
    whole = known and artifacts.refuse_changed(folder, MAX_HASHED_BYTES)
    predictor = Predictor.open(folder, engine, emit)
    try:
        refuse_other_tokenizer(predictor)
        if not whole:
            refuse_other_answer(predictor)
    except BaseException:
        predictor.close()
        raise
    if known and not whole:
        predictor.notes = [*predictor.notes, text("inference.only_sizes", path=folder)]
    return predictor


def refuse_other_tokenizer(predictor: Predictor) -> None:
    """Check that every token has a place in the model and special ones are those of the training.

    Raises:
        CheckError: They are not (``INFER-080``).
    """
    tokenizer, path = predictor.tokenizer, predictor.folder / "config.json"
    config = files.read_json(path) if path.is_file() else {}
    size, largest = config.get("vocab_size"), max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(size, int) and largest >= size:
        found, expected = str(largest + 1), str(size)
        raise CheckError("INFER-080", path=predictor.folder, found=found, expected=expected)
    for name, index in predictor.contract.special_tokens.items():
        found_index = getattr(tokenizer, f"{name}_token_id", None)
        if found_index is not None and found_index != index:
            found, expected = f"{name} {found_index}", f"{name} {index}"
            raise CheckError("INFER-080", path=predictor.folder, found=found, expected=expected)


def refuse_other_answer(predictor: Predictor) -> None:
    """Ask the first recorded probe, of a text its first token; nothing where none were recorded.

    Raises:
        CheckError: It is answered otherwise (``INFER-081``).
        InputError: The probes are damaged (``INFER-011``).
    """
    if not (predictor.folder / PROBES_FILE).is_file():
        return
    recorded = Probes.open(predictor.folder)
    first = Probes([_begun(probe) for probe in recorded.probes[:1]], recorded.identity, "")
    # One token makes no text; that is `verify`'s to compare.
    limits = replace(limits_for(predictor.engine.number_format), min_texts=0.0)
    table = compare(predictor, first, limits)
    if table.failed:
        raise CheckError("INFER-081", path=predictor.folder, reasons=describe(table.failed))


def _begun(probe: Probe) -> Probe:
    if probe.token_ids_U is None or probe.top_ids_UK is None or probe.top_log_probs_UK is None:
        return probe
    return replace(
        probe,
        token_ids_U=probe.token_ids_U[:1],
        top_ids_UK=probe.top_ids_UK[:1],
        top_log_probs_UK=probe.top_log_probs_UK[:1],
    )
