"""A tokenizer as GGUF can hold it, so that other programs can use the file.

Our own engine sends token ids: GGUF has four kinds of tokenizers, and llama.cpp splits words by
patterns of its own. What it cannot express is left out, and said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter, TokenType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Patterns by which byte-level tokenizers split texts first → llama.cpp's name of them.
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    rf"{_SHORT}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}|{_BLANKS}": "llama-bpe",
    rf"{_SHORT}|{_LETTERS}|\p{{N}}|{_SIGNS}|{_BLANKS}": "qwen2",
}
PLAIN_SPLIT = "gpt-2"
WORD_BEGIN = "\u2581"


def write_vocabulary(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast, num_rows: int
) -> str | None:
    """Write a tokenizer and return llama.cpp's name of its kind; None where it has no such kind.

    Args:
        writer: Of the file.
        tokenizer: Of the model.
        num_rows: Token embeddings; those without a token get names of their own.
    """
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = kind_of(saved)
    if kind is None:
        writer.add_tokenizer_model("no_vocab")
        return None
    tokens, types = _tokens(tokenizer, saved, num_rows)
    writer.add_tokenizer_model(kind)
    if kind == "bert":
        tokens = [_phantom(t, k) for t, k in zip(tokens, types, strict=True)]
    if kind == "gpt2":
        writer.add_tokenizer_pre(split_of(saved))
        merges = saved["model"]["merges"]
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    if kind == "t5":
        scores = [float(score) for _, score in saved["model"]["vocab"]]
        writer.add_token_scores([*scores, *[-10_000.0] * (num_rows - len(scores))])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _specials(writer, tokenizer)
    return kind


def kind_of(saved: dict[str, Any]) -> str | None:
    """Return llama.cpp's name of a tokenizer's kind, from its saved form."""
    kind = saved["model"]["type"]
    before = [part["type"] for part in _parts(saved.get("pre_tokenizer"))]
    if kind == "BPE" and "ByteLevel" in before:
        return "gpt2"
    if kind == "WordPiece" and saved["model"].get("continuing_subword_prefix") == "##":
        return "bert"
    if kind == "Unigram" and "Metaspace" in before:
        return "t5"
    return None


def split_of(saved: dict[str, Any]) -> str:
    """Return llama.cpp's name of the pattern by which texts are split before their bytes."""
    for part in _parts(saved.get("pre_tokenizer")):
        pattern = part.get("pattern") or {}
        if part["type"] == "Split" and "Regex" in pattern:
            return SPLITS.get(pattern["Regex"], PLAIN_SPLIT)
    return PLAIN_SPLIT


def _parts(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [part for each in step["pretokenizers"] for part in _parts(each)]
    return [step]


def _tokens(
    tokenizer: PreTrainedTokenizerFast, saved: dict[str, Any], num_rows: int
) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{index}]" for index in range(num_rows)]
    types = [int(TokenType.UNUSED)] * num_rows
    special = {token["id"] for token in saved["added_tokens"] if token["special"]}
    added = {token["id"] for token in saved["added_tokens"]}
    for token, index in tokenizer.get_vocab().items():
        if index >= num_rows:
            continue
        tokens[index] = token
        kind = TokenType.NORMAL
        if index in special:
            kind = TokenType.CONTROL
        elif index in added:
            kind = TokenType.USER_DEFINED
        types[index] = int(kind)
    return tokens, types


def _phantom(token: str, kind: int) -> str:
    """Return a WordPiece token as llama.cpp wants it: beginnings are marked, not continuations."""
    if kind != TokenType.NORMAL:
        return token
    return token[2:] if token.startswith("##") else WORD_BEGIN + token


def _specials(writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    known = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "sep": writer.add_sep_token_id,
        "pad": writer.add_pad_token_id,
        "mask": writer.add_mask_token_id,
    }
    for name, write in known.items():
        index = getattr(tokenizer, f"{name}_token_id", None)
        if index is not None:
            write(int(index))
    # Which tokens frame a text is the contract's business: ids are sent whole.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
