"""Tokenizers whose tokens are whole characters or whole words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llmwright.tokenization.config import TokenizeConfig
from llmwright.tokenization.repeatable import with_special
from llmwright.tokenization.special import Framing, finish

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.decoders import Decoder
    from transformers import PreTrainedTokenizerFast


def train_char(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per Unicode character, white space included.

    Text of known characters decodes to itself exactly.

    Args:
        config: `vocab_size`, `min_frequency` and `lowercase` are used.
        texts: Training texts.
        framing: Special tokens and what is put around a text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(unk_token=framing.special.unk))
    # Not ".", which leaves out line ends.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return train_words(tokenizer, config, texts, framing)


def train_word(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word or run of punctuation.

    White space is not kept: decoding puts single spaces between words, none before punctuation.
    A run of Chinese characters counts as one word; `jieba` cuts it properly.

    Args:
        config: `vocab_size`, `min_frequency` and `lowercase` are used.
        texts: Training texts.
        framing: Special tokens and what is put around a text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(unk_token=framing.special.unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # No word starts with NUL, so no word is mistaken for the continuation of another.
    tokenizer.decoder = spaced_decoder("\x00")
    return train_words(tokenizer, config, texts, framing)


def spaced_decoder(continuation: str) -> Decoder:
    """Return a decoder that parts words by spaces, but not Chinese characters or punctuation.

    Args:
        continuation: Prefix of tokens that continue the word before them.
    """
    from tokenizers import Regex, decoders

    chinese = r"[\p{Han}\x{3000}-\x{303F}\x{FF00}-\x{FFEF}]"
    return decoders.Sequence(
        [
            decoders.WordPiece(prefix=continuation, cleanup=True),
            decoders.Fuse(),
            decoders.Replace(Regex(f"(?<={chinese}) (?={chinese})"), ""),
            decoders.Replace(Regex(r"(?<=\w) ' (?=\w)"), "'"),
        ]
    )


def train_words(
    tokenizer: Tokenizer,
    config: TokenizeConfig,
    texts: Iterable[str],
    framing: Framing,
    steps: Sequence[dict[str, Any]] = (),
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a vocabulary of the pieces that its pre-tokenizer makes.

    Args:
        tokenizer: Has the pre-tokenizer and the decoder.
        config: `vocab_size`, `min_frequency` and `lowercase` are used.
        texts: Training texts, after the steps.
        framing: Special tokens and what is put around a text.
        steps: Text steps that must run before it.
    """
    from tokenizers import models, normalizers, trainers

    if config.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=framing.tokens(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if certain := framing.certain(tokenizer):
        # The trainer leaves out what is rare; these come first, the rest by frequency.
        by_frequency = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        entries = dict.fromkeys(
            [*framing.tokens(), *certain, *(token for token, _ in by_frequency)]
        )
        ids = {token: index for index, token in enumerate([*entries][: config.vocab_size])}
        model = models.WordLevel(ids, unk_token=framing.special.unk)
        tokenizer = with_special(tokenizer, model, framing.tokens())
    return finish(tokenizer, framing, steps)
