"""Subword tokenizers: byte-level BPE, WordPiece and Unigram, trained by the tokenizers library.

Sources: BPE — Sennrich et al. 2016 (arXiv:1508.07909), on bytes as in GPT-2 (Radford et al. 2019);
WordPiece — Schuster and Nakajima 2012, as in BERT (arXiv:1810.04805); Unigram — Kudo 2018
(arXiv:1804.10959).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError
from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.repeatable import continuations, ordered_pieces, with_special
from llmwright.tokenization.special import Framing, finish
from llmwright.tokenization.wholes import spaced_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def train_bpe(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: every text has tokens and decodes to itself exactly.

    Among pairs that are equally frequent, the one whose parts came first is merged.

    Args:
        config: `vocab_size`, `min_frequency` and `lowercase` are used.
        texts: Training texts.
        framing: Special tokens and what is put around a text.

    Raises:
        ConfigError: `vocab_size` has no room for the 256 bytes (``TOK-002``).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(framing.tokens())
    if config.vocab_size < smallest:
        where = "tokenize.vocab_size"
        raise ConfigError("TOK-002", where=where, given=config.vocab_size, smallest=smallest)
    tokenizer = Tokenizer(models.BPE(unk_token=framing.special.unk))
    if config.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=framing.tokens(),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return finish(tokenizer, framing)


def train_wordpiece(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a WordPiece tokenizer with BERT's text cleaning; Chinese characters stand alone.

    White space is not kept: decoding puts single spaces between words, none inside Chinese.

    Args:
        config: `vocab_size`, `min_frequency` and `lowercase` (which also strips accents) are used.
        texts: Training texts; they are gone through twice.
        framing: Special tokens and what is put around a text.

    Raises:
        ConfigError: `vocab_size` has no room for all characters (``TOK-007``).
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=framing.special.unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = spaced_decoder("##")
    special = framing.tokens()
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        # The trainer numbers what it is given here first and in this order.
        special_tokens=[*special, *continuations(tokenizer, texts)],
        # The default caps single characters at a number that loses rare Chinese ones.
        limit_alphabet=config.vocab_size,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise _no_room(config, tokenizer.get_vocab_size())
    model = models.WordPiece(tokenizer.get_vocab(), unk_token=framing.special.unk)
    return finish(with_special(tokenizer, model, special), framing)


def train_unigram(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer as in SentencePiece: white space is part of the tokens (``▁``).

    Args:
        config: `vocab_size` and `lowercase` are used.
        texts: Training texts; they are gone through twice.
        framing: Special tokens and what is put around a text.

    Raises:
        ConfigError: `min_frequency` is set, which Unigram does not have (``TOK-003``), or
            `vocab_size` has no room for all characters (``TOK-007``).
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if config.min_frequency != 1:
        raise ConfigError("TOK-003", where="tokenize.min_frequency", given=config.min_frequency)
    tokenizer = Tokenizer(models.Unigram())
    if config.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    # Lines are cut apart so that no piece spans two of them; the line end stays a token.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]"), behavior="isolated"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=config.vocab_size,
        special_tokens=framing.tokens(),
        unk_token=framing.special.unk,
        show_progress=False,
    )
    special = framing.tokens()
    smallest = len({character for text in texts for character in text}) + len(special) + 1
    if config.vocab_size < smallest:
        raise _no_room(config, smallest)
    tokenizer.train_from_iterator(texts, trainer)
    trained = json.loads(tokenizer.to_str())["model"]["vocab"]
    pieces = ordered_pieces([(piece, score) for piece, score in trained], special)
    model = models.Unigram(pieces, unk_id=special.index(framing.special.unk))
    return finish(with_special(tokenizer, model, special), framing)


def _no_room(config: TokenizeConfig, smallest: int) -> ConfigError:
    where = "tokenize.vocab_size"
    return ConfigError(
        "TOK-007", where=where, kind=config.kind, given=config.vocab_size, smallest=smallest
    )
