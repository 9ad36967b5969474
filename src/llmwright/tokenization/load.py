"""Take a finished tokenizer: a folder, one of the known file formats, or a hub id."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.tokenization import hub, sentencepiece
from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.special import Framing, ensure_pad, named_roles, wrap
from llmwright.tokenization.wholes import spaced_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Files that come in pairs: vocabulary, then merges.
BPE_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
SENTENCEPIECE_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def load_for_config(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing, root: Path | None = None
) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `source` names; nothing is trained.

    Args:
        config: `source`, `revision`, `chat_template` and, for a vocab.txt, `lowercase` are used.
        texts: Not used.
        framing: Only its chat template is used, unless `chat_template` is ``auto``.
        root: Where a relative `source` starts.

    Raises:
        ConfigError: As `load_tokenizer`.
        InputError: As `load_tokenizer`.
        ResourceError: As `load_tokenizer`.
    """
    assert config.source is not None
    tokenizer = load_tokenizer(
        config.source, revision=config.revision, lowercase=config.lowercase, root=root
    )
    if config.chat_template != "auto":
        tokenizer.chat_template = framing.chat_template
    return tokenizer


def load_tokenizer(
    source: str | Path,
    *,
    revision: str | None = None,
    lowercase: bool = False,
    root: Path | None = None,
) -> PreTrainedTokenizerFast:
    """Return a finished tokenizer; its padding token is never its end of text.

    Args:
        source: Folder, tokenizer.json, SentencePiece ``.model``, vocab.txt (WordPiece), vocab.json
            or encoder.json beside its merges (byte-level BPE), or a hub id.
        revision: Branch, tag or commit of a hub id.
        lowercase: For a vocab.txt only: whether it was made from lower-case text.
        root: Where a relative path starts; the current folder when not given.

    Raises:
        ConfigError: ``lowercase`` for anything but a vocab.txt (``TOK-009``).
        InputError: No such path (``TOK-010``), no tokenizer in the folder (``TOK-011``), a file
            that cannot be read (``TOK-012``), only a slow Python tokenizer (``TOK-013``), one
            that needs its own code (``TOK-014``), not a hub id (``TOK-015``), no such repository
            (``TOK-016``).
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    path = hub.find_local(source, root)
    if path is None:
        path = hub.fetch(str(source), revision, hub.TOKENIZER_FILES)
    try:
        tokenizer = _from_folder(path, lowercase) if path.is_dir() else _from_file(path, lowercase)
    except (InputError, ConfigError):
        raise
    except Exception as error:  # the Rust library raises plain Exception
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise InputError("TOK-014", path=path) from error
        raise InputError("TOK-012", path=path, reason=hub.first_line(error)) from error
    if not tokenizer.is_fast:
        raise InputError("TOK-013", path=path, found=type(tokenizer).__name__)
    ensure_pad(tokenizer)
    return tokenizer


def _from_folder(folder: Path, lowercase: bool) -> PreTrainedTokenizerFast:
    if (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        return _from_file(folder / "tokenizer.json", lowercase)
    if (folder / "tokenizer_config.json").is_file():
        _refuse(lowercase)
        from transformers import AutoTokenizer

        # False, not None: None would ask on the terminal whether to run the repository's code.
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    names = [*(name for pair in BPE_PAIRS for name in pair[:1]), "vocab.txt", *SENTENCEPIECE_NAMES]
    models = sorted(folder.glob("*.model"))
    found = [folder / name for name in names if (folder / name).is_file()]
    found += models if len(models) == 1 else []
    if not found:
        raise InputError("TOK-011", path=folder)
    return _from_file(found[0], lowercase)


def _from_file(path: Path, lowercase: bool) -> PreTrainedTokenizerFast:
    if path.suffix == ".txt":
        return _from_wordpiece_vocabulary(path, lowercase)
    _refuse(lowercase)
    if path.suffix == ".model":
        return sentencepiece.read_model(path)
    if path.suffix == ".bpe":
        return _from_bpe_files(path.with_name("encoder.json"), path)
    values = json.loads(path.read_text(encoding="utf-8"))
    if "model" in values and isinstance(values["model"], dict):
        return _wrap_file(path)
    for vocabulary, merges in BPE_PAIRS:
        if path.name == vocabulary or path.with_name(merges).is_file():
            return _from_bpe_files(path, path.with_name(merges))
    raise InputError("TOK-012", path=path, reason=text("tokenization.not_a_tokenizer"))


def _refuse(lowercase: bool) -> None:
    if lowercase:
        raise ConfigError("TOK-009", where="tokenize.lowercase", names="lowercase", kind="load")


def _wrap_file(path: Path) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
    return wrap(tokenizer, named_roles(special))


def _from_bpe_files(vocabulary: Path, merges: Path) -> PreTrainedTokenizerFast:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    for path in (vocabulary, merges):
        if not path.is_file():
            raise InputError("TOK-010", path=path)
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    roles = named_roles(tokenizer.get_vocab())
    special = [AddedToken(t, normalized=False, special=True) for t in sorted(set(roles.values()))]
    tokenizer.add_special_tokens(special)
    return wrap(tokenizer, roles)


def _from_wordpiece_vocabulary(path: Path, lowercase: bool) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    roles = named_roles(path.read_text(encoding="utf-8").splitlines())
    missing = {"unk_token", "cls_token", "sep_token"} - set(roles)
    if missing:
        reason = text("tokenization.lines_missing", names=", ".join(sorted(missing)))
        raise InputError("TOK-012", path=path, reason=reason)
    tokenizer = Tokenizer(models.WordPiece.from_file(str(path), unk_token=roles["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = spaced_decoder("##")
    start, end = roles["cls_token"], roles["sep_token"]
    tokenizer.add_special_tokens(sorted(set(roles.values())))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (start, end)],
    )
    return wrap(tokenizer, roles)
