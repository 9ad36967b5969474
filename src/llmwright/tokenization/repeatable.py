"""What makes the library's WordPiece and Unigram trainers give the same result every time.

Both go through hash maps whose order changes from run to run: WordPiece numbers its ``##``
characters in that order (and breaks ties by number), Unigram sums and numbers its pieces in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.models import Model

# The trainer gives characters that lost their piece the lowest score, rising by this step.
PENALTY_STEP = 1e-4
# Decimals of a log probability that are kept: sums in another order differ from the 11th on.
DECIMALS = 4


def continuations(tokenizer: Tokenizer, texts: Iterable[str], prefix: str = "##") -> list[str]:
    """Return the characters that continue a word in these texts, with the prefix, sorted.

    Args:
        tokenizer: Its normalizer and pre-tokenizer say what a word is.
        texts: Training texts.
        prefix: Written before each.
    """
    found: set[str] = set()
    for text in texts:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        for word in {word for word, _ in words}:
            found.update(word[1:])
    return [prefix + character for character in sorted(found)]


def with_special(tokenizer: Tokenizer, model: Model, special: list[str]) -> Tokenizer:
    """Return a tokenizer with another model and only these special tokens, else the same."""
    from tokenizers import AddedToken, Tokenizer

    rebuilt = Tokenizer(model)
    if tokenizer.normalizer is not None:
        rebuilt.normalizer = tokenizer.normalizer
    rebuilt.pre_tokenizer = tokenizer.pre_tokenizer
    rebuilt.decoder = tokenizer.decoder
    rebuilt.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    return rebuilt


def ordered_pieces(pieces: list[tuple[str, float]], special: list[str]) -> list[tuple[str, float]]:
    """Return Unigram pieces in one order with one score each, whatever order they were found in.

    Args:
        pieces: Pieces with log probabilities, as trained.
        special: Special tokens; they keep the first places.
    """
    scores = {piece: score for piece, score in pieces if piece not in special}
    if not scores:
        return list(pieces)
    lowest = min(scores.values())
    # Which of these characters got which step is chance: they share the steps alphabetically.
    filled = sorted(p for p, score in scores.items() if len(p) == 1 and _is_step(score - lowest))
    steps = sorted((scores[piece] for piece in filled), reverse=True)
    scores.update(zip(filled, steps, strict=True))
    rounded = [(piece, round(score, DECIMALS)) for piece, score in scores.items()]
    rounded.sort(key=lambda entry: (-entry[1], entry[0]))
    return [(token, 0.0) for token in special] + rounded


def _is_step(distance: float) -> bool:
    count = round(distance / PENALTY_STEP)
    return abs(distance - count * PENALTY_STEP) < PENALTY_STEP * 1e-3
