"""Read a SentencePiece ``.model`` file without the sentencepiece package.

The file is a protocol buffer; the message classes come with transformers. What is rebuilt is
SentencePiece's pipeline: normalize by its own character map, squeeze and strip white space, write
spaces as ``▁``, then Unigram or BPE.

Source: https://github.com/google/sentencepiece, src/sentencepiece_model.proto.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core.errors import InputError
from llmwright.core.locale import text
from llmwright.tokenization.special import wrap

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.decoders import Decoder
    from tokenizers.models import Model
    from tokenizers.normalizers import Normalizer
    from transformers import PreTrainedTokenizerFast

# Kinds of model in the file's trainer_spec, and kinds of pieces.
UNIGRAM, BPE = 1, 2
CONTROL, USER_DEFINED = 3, 4


def read_model(path: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in a SentencePiece model file.

    Raises:
        InputError: Not such a file, or a word or character model (``TOK-012``).
    """
    proto = _parse(path)
    trained = proto.trainer_spec
    if trained.model_type not in (UNIGRAM, BPE):
        raise InputError("TOK-012", path=path, reason=text("tokenization.not_unigram_or_bpe"))
    tokenizer = _build(proto)
    pieces = [piece.piece for piece in proto.pieces]
    ids = {
        "pad": trained.pad_id,
        "unk": trained.unk_id,
        "bos": trained.bos_id,
        "eos": trained.eos_id,
    }
    roles = {f"{r}_token": pieces[i] for r, i in ids.items() if 0 <= i < len(pieces)}
    return wrap(tokenizer, roles)


def _parse(path: Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(
            "TOK-012", path=path, reason=text("tokenization.not_sentencepiece")
        ) from error
    if not proto.pieces:
        raise InputError("TOK-012", path=path, reason=text("tokenization.not_sentencepiece"))
    return proto


def _build(proto: Any) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    trained = proto.trainer_spec
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    fallback = trained.byte_fallback
    if trained.model_type == UNIGRAM:
        model: Model = models.Unigram(pieces, unk_id=trained.unk_id, byte_fallback=fallback)
    else:
        ids = {piece: index for index, (piece, _) in enumerate(pieces)}
        model = models.BPE(
            vocab=ids,
            merges=_merges(pieces),
            unk_token=trained.unk_piece,
            fuse_unk=True,
            byte_fallback=fallback,
        )
    tokenizer = Tokenizer(model)
    normalizer = _normalizer(proto.normalizer_spec)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme=scheme, split=trained.model_type == UNIGRAM
    )
    decoder: Decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    if fallback:
        chain = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        if scheme == "always":
            chain.append(decoders.Strip(" ", 1, 0))
        decoder = decoders.Sequence(chain)
    tokenizer.decoder = decoder
    for piece in proto.pieces:
        if piece.type in (CONTROL, USER_DEFINED):
            control = piece.type == CONTROL
            tokenizer.add_tokens([AddedToken(piece.piece, normalized=False, special=control)])
    return tokenizer


def _normalizer(spec: Any) -> Normalizer | None:
    from tokenizers import Regex, normalizers

    chain: list[Normalizer] = []
    if spec.precompiled_charsmap:
        chain.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        # Spaces only: a line end is text to SentencePiece.
        chain.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        chain.append(normalizers.Replace(Regex(" {2,}"), " "))
    return normalizers.Sequence(chain) if chain else None


def _merges(pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Return BPE merges in the order of the pieces' scores.

    SentencePiece stores no merges: a piece may be made from any two pieces that spell it, and the
    best-scored piece is made first.
    """
    scores = dict(pieces)
    order = {piece: index for index, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [(a, b) for a, b in splits if a in scores and b in scores]
        known.sort(key=lambda parts: (order[parts[0]], order[parts[1]]))
        merges += [(score, parts) for parts in known]
    merges.sort(key=lambda entry: entry[0], reverse=True)
    return [parts for _, parts in merges]
