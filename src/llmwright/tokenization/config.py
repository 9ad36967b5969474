"""What can be asked of `tokenize`, and the registries of tokenizer kinds and text steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from llmwright.core.config import Choice, Config, Input, Kind, LocalPath, Name
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

    Trainer = Callable[..., PreTrainedTokenizerFast]

# A trainer gets the config, the texts and a `special.Framing` (special tokens and where they
# stand), and returns a tokenizer that survives saving. "load" takes a finished one instead.
TOKENIZERS: Registry[Trainer] = Registry(
    "tokenizer",
    {
        "bpe": "llmwright.tokenization.subwords:train_bpe",
        "wordpiece": "llmwright.tokenization.subwords:train_wordpiece",
        "unigram": "llmwright.tokenization.subwords:train_unigram",
        "char": "llmwright.tokenization.wholes:train_char",
        "word": "llmwright.tokenization.wholes:train_word",
        "jieba": "llmwright.tokenization.jieba_words:train_jieba",
        "load": "llmwright.tokenization.load:load_for_config",
    },
)

# Text → text steps that must run before a tokenizer, in training as at inference.
STEPS: Registry[type[Kind]] = Registry(
    "text_step", {"jieba": "llmwright.tokenization.config:JiebaStep"}
)


class JiebaStep(Kind):
    """Cut Chinese text into words with jieba, separated by single spaces.

    `build()` returns the function text → text. White space of the input is kept as visible
    marks (``▁`` space, ``↵`` newline, ``⇥`` tab), so that decoding restores the text exactly.
    """

    implementation: ClassVar[str] = "llmwright.tokenization.jieba_words:build_step"

    kind: Literal["jieba"] = "jieba"
    """Name of this step."""


class SpecialTokens(Config):
    """How the tokens that are not text are written."""

    pad: str = "<pad>"
    """Fills short rows of a batch; never the same as the end of text."""
    unk: str = "<unk>"
    """Stands for what the vocabulary does not hold."""
    bos: str = "<bos>"
    """Begins a text, and each turn of a chat."""
    eos: str = "<eos>"
    """Ends a text, and each turn of a chat: generation stops here."""
    cls: str = "<cls>"
    """First token of a text that is classified or tagged; its vector stands for the whole text."""
    sep: str = "<sep>"
    """Ends a classified text and parts the two texts of a pair."""
    mask: str = "<mask>"
    """Hides a token that an encoder learns to guess."""


class TokenizeConfig(Config):
    """Train a tokenizer on a dataset's training split, or take a finished one, and measure it."""

    dataset: Annotated[str | None, Input("dataset", optional=True)] = None
    """Dataset to train and measure on: an artifact id, a step name or a folder; the newest one when
    not given. `load` can do without, and then measures nothing."""
    kind: Annotated[str, Name(TOKENIZERS)] = "bpe"
    """How text is cut: `bpe` (bytes, knows every text), `wordpiece`, `unigram`, `char`, `word`,
    `jieba` (Chinese words), or `load` for a finished tokenizer named by `source`."""
    vocab_size: int = Field(8000, ge=16, le=1_000_000)
    """Most entries of the vocabulary, special tokens included. More entries mean shorter sequences
    and a larger model; 8000 suits a few megabytes of text. Not for `load`."""
    min_frequency: int = Field(1, ge=1)
    """How often a piece must occur in the training texts to get an entry. 1 keeps every character
    of a small dataset. `unigram` weighs pieces by likelihood and has no such limit: only 1 is
    accepted. Not for `load`."""
    lowercase: bool = False
    """Turn text to lower case first: a smaller vocabulary, but upper case is lost when text is
    generated. With `load` only for a vocab.txt, which does not say it itself."""
    source: Annotated[str | None, LocalPath()] = None
    """For `load` only: a tokenizer folder, a tokenizer.json, a SentencePiece .model, a vocab.txt, a
    vocab.json or encoder.json beside its merges, or a hub id such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """For `load` from the hub only: branch, tag or commit."""
    framing: Literal["auto", "none", "eos", "bos_eos", "cls_sep"] = "auto"
    """Which special tokens a trained tokenizer puts around a text by itself: `auto` takes `cls_sep`
    for classification and tagging, `eos` for seq2seq and `none` for text generation. Not for
    `load`."""
    special: SpecialTokens = SpecialTokens()
    """How the special tokens are written. Not for `load`, which keeps those it finds."""
    chat_template: Annotated[str, LocalPath()] = "auto"
    """Jinja template of a conversation: `auto` gives a trained tokenizer the built-in ChatML-like
    one when the rows are messages and leaves a loaded one its own, `chatml` always, `none` never;
    else the path of a .jinja file."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        """Refuse what the kind would leave aside.

        By value, not by what was named: the Python API hands over every parameter.
        """
        only, never = ("source", "revision"), ("vocab_size", "min_frequency", "framing", "special")
        fields = type(self).model_fields
        refused = [
            name
            for name in (never if self.kind == "load" else only)
            if getattr(self, name) != fields[name].default
        ]
        if refused:
            code = "TOK-009" if self.kind == "load" else "TOK-008"
            names = ", ".join(refused)
            raise ConfigError(code, where=f"tokenize.{refused[0]}", names=names, kind=self.kind)
        if self.kind == "load" and not self.source:
            raise ConfigError("TOK-004", where="tokenize.source")
        return self

    def local_files(self, root: Path) -> list[Path]:
        """Return the local files this config reads, for the fingerprint."""
        names = [self.source] if self.source else []
        if self.chat_template not in ("auto", "chatml", "none"):
            names.append(self.chat_template)
        found: list[Path] = []
        for name in names:
            path = located(name, root)
            if path.is_dir():
                found += sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _FILES)
            elif path.is_file():
                found.append(path)
        return found


def located(name: str | Path, root: Path) -> Path:
    """Return the path that a name stands for, from ``root``; ``~`` is the home folder.

    Raises:
        InputError: The home of a user who does not exist (``TOK-010``).
    """
    try:
        return root / Path(name).expanduser()
    except RuntimeError as error:
        raise InputError("TOK-010", path=name) from error


# What a tokenizer folder may hold that changes the result; weights beside it do not.
_FILES = {".json", ".txt", ".model", ".bpe", ".jinja"}

AnyStep = Annotated[Kind, Choice(STEPS)]
