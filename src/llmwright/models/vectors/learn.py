"""Learn word vectors from the training texts with gensim's word2vec.

Source: Mikolov et al. 2013 (arXiv:1310.4546), skip-gram and CBOW with negative sampling.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmwright.core.errors import InputError, ResourceError
from llmwright.core.locale import text
from llmwright.models.vectors.config import TrainedVectors
from llmwright.models.vectors.fill import VectorRequest

# gensim leaves out without a word what a sentence has beyond 10,000 words.
MAX_SENTENCE = 10_000


class Sentences:
    """The words of the training texts as gensim takes them: ids as text, as often as asked for.

    Args:
        request: Has the texts' token ids, and the tokenizer that knows which are no words.
    """

    def __init__(self, request: VectorRequest) -> None:
        self._sequences = request.sequences
        self._special = np.array(sorted(request.tokenizer.all_special_ids))

    def __iter__(self) -> Iterator[list[str]]:
        for ids_T in self._sequences():
            words_T = ids_T[~np.isin(ids_T, self._special)]
            for start in range(0, len(words_T), MAX_SENTENCE):
                yield [str(index) for index in words_T[start : start + MAX_SENTENCE].tolist()]


def learn_vectors(vectors: TrainedVectors, request: VectorRequest) -> dict[int, np.ndarray]:
    """Return token id → vector for the tokens that occur often enough; the same for one seed.

    Raises:
        ResourceError: gensim is not installed (``MODEL-046``).
        InputError: No word occurs often enough, or there are no texts (``MODEL-044``).
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ResourceError("MODEL-046", reason=str(error)) from error
    model = Word2Vec(
        vector_size=request.size,
        window=vectors.window,
        min_count=vectors.min_frequency,
        sg=int(vectors.method == "skip_gram"),
        # Several workers would take the texts in another order each time.
        workers=1,
        seed=request.seed,
    )
    sentences = Sentences(request)
    model.build_vocab(sentences)
    if not model.wv.key_to_index:
        raise InputError("MODEL-044", min_frequency=vectors.min_frequency)
    request.notice(text("models.vectors_learning", count=f"{len(model.wv.key_to_index):,}"))
    model.train(sentences, total_examples=model.corpus_count, epochs=vectors.epochs)
    return {int(word): model.wv[word] for word in sorted(model.wv.key_to_index, key=int)}
