"""How well documents are searched, and how often it is seen that they hold no answer.

`python benchmarks/knowledge.py [--encoder FOLDER] [--data FOLDER] [--fit]` with XQuAD in English
and Chinese: 48 articles of 5 paragraphs, one text file each, 1,190 questions. A passage is right
when it holds the whole answer at its place. Of the encoder, plain cosines and reciprocal rank
fusion are measured beside what the package does.

"Not found": the first half of the articles fits the weights (`--fit` prints them); of the second
half every other article is indexed, and all questions are asked, then the same the other way round.
Questions about articles that are not there have no answer. The harder case takes out only the
paragraph that holds the answer and leaves the rest of its article.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import machine, public_data
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from llmwright.inference.predictor import Predictor
from llmwright.knowledge import search
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import Encoder, encoder_of, language_of
from llmwright.knowledge.indexing import Silent, open_index
from llmwright.knowledge.search import Knowledge, Weights

RRF = 60
Scores = Callable[[Knowledge, str], np.ndarray]


@dataclass(frozen=True)
class Question:
    """A question, the article and paragraph that answer it, and where in the paragraph."""

    text: str
    article: int
    paragraph: int
    start: int
    answer: str


@dataclass(frozen=True)
class Corpus:
    """Articles as lists of paragraphs, with questions."""

    articles: list[list[str]]
    questions: list[Question]


def remembering(encoder: Encoder) -> Encoder:
    """Return an encoder that embeds each text once: the same passages stand in many folders."""

    def once(embed: Callable[[Sequence[str]], np.ndarray]) -> Callable[..., np.ndarray]:
        held: dict[str, np.ndarray] = {}

        def found(texts: Sequence[str]) -> np.ndarray:
            new = [text for text in dict.fromkeys(texts) if text not in held]
            if new:
                held.update(zip(new, embed(new), strict=True))
            return np.stack([held[text] for text in texts])

        return found

    return Encoder(encoder.identity, once(encoder.passages), once(encoder.questions))


def read(path: Path) -> Corpus:
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    articles = [[part["context"] for part in article["paragraphs"]] for article in data]
    questions = [
        Question(qa["question"], a, p, qa["answers"][0]["answer_start"], qa["answers"][0]["text"])
        for a, article in enumerate(data)
        for p, part in enumerate(article["paragraphs"])
        for qa in part["qas"]
    ]
    return Corpus(articles, questions)


class Folder:
    """Some articles as a folder of text files, searched."""

    def __init__(self, articles: dict[int, list[str]], encoder: Encoder | None) -> None:
        self._held = tempfile.TemporaryDirectory()
        root = Path(self._held.name)
        (root / "docs").mkdir()
        self._starts: dict[tuple[int, int], int] = {}
        for number, paragraphs in articles.items():
            text = ""
            for place, paragraph in enumerate(paragraphs):
                self._starts[number, place] = len(text)
                text += paragraph + "\n\n"
            (root / "docs" / f"{number:02}.txt").write_text(text, encoding="utf-8")
        config = KnowledgeConfig(folder="docs")
        started = time.perf_counter()
        index = open_index(config, root, root / "home", encoder, Silent())
        self.seconds = time.perf_counter() - started
        self.knowledge = Knowledge(index, config, encoder)
        self._passages = [index.passage(place) for place in range(len(index))]

    def right(self, question: Question) -> np.ndarray:
        """Return which passages hold the answer to a question."""
        start = self._starts[question.article, question.paragraph] + question.start
        end, source = start + len(question.answer), f"{question.article:02}.txt"
        return np.array(
            [p.source == source and p.start <= start and end <= p.end for p in self._passages]
        )


def by_words(knowledge: Knowledge, question: str) -> np.ndarray:
    return knowledge.index.lexicon.shares(question)


def by_cosine(knowledge: Knowledge, question: str) -> np.ndarray:
    assert knowledge.encoder is not None
    vectors = knowledge.index.vectors_ND
    assert vectors is not None
    return np.asarray(vectors @ knowledge.encoder.questions([question])[0])


def by_ranks(knowledge: Knowledge, question: str) -> np.ndarray:
    total = np.zeros(len(knowledge.index))
    for scores in (by_words(knowledge, question), by_cosine(knowledge, question)):
        ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
        total += 1 / (RRF + ranks + 1)
    return total


def by_score(knowledge: Knowledge, question: str) -> np.ndarray:
    words, meaning = knowledge.evidence(question)
    return weights_for(question, meaning).odds(words, meaning)


def weights_for(question: str, meaning: np.ndarray | None) -> Weights:
    return search.BY_WORDS[language_of(question)] if meaning is None else search.BY_BOTH


def ranks(folder: Folder, questions: Sequence[Question], scores: Scores) -> np.ndarray:
    """Return the rank of the first right passage for each question, from 1 on."""
    found = []
    for question in questions:
        values, right = scores(folder.knowledge, question.text), folder.right(question)
        best = values[right].max() if right.any() else -np.inf
        # Of equal scores the others come first: chance must not help.
        found.append(1 + (values[~right] >= best).sum() if right.any() else np.inf)
    return np.array(found)


def retrieval(name: str, corpus: Corpus, encoder: Encoder | None) -> None:
    folder = Folder(dict(enumerate(corpus.articles)), encoder)
    index = folder.knowledge.index
    gauges = {language: gauge.plain() for language, gauge in index.gauges.items()}
    print(f"{name}: {len(index)} passages indexed in {folder.seconds:.1f} s; gauge {gauges}")
    ways: dict[str, Scores] = {"words (BM25)": by_words}
    if encoder:
        ways |= {"cosine": by_cosine, "both, by ranks": by_ranks, "both, our score": by_score}
    for way, scores in ways.items():
        started = time.perf_counter()
        found = ranks(folder, corpus.questions, scores)
        each = (time.perf_counter() - started) / len(found) * 1000
        figures = (np.mean(found == 1), np.mean(found <= 5), np.mean(1 / found), each)
        print(
            "  {:18} recall@1 {:.3f}  recall@5 {:.3f}  MRR {:.3f}  {:.1f} ms".format(way, *figures)
        )


def halves(corpus: Corpus, numbers: range) -> Iterator[tuple[dict[int, list[str]], set[int]]]:
    """Yield every other of some articles to index, and all of them to ask about."""
    for first in (0, 1):
        chosen = {number: corpus.articles[number] for number in numbers if number % 2 == first}
        yield chosen, set(numbers)


def outcomes(
    corpus: Corpus, numbers: range, encoder: Encoder | None, weights: Weights | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return evidence and log odds of the best passage for each question; whether it has one."""
    evidence, odds, known = [], [], []
    for articles, asked in halves(corpus, numbers):
        folder = Folder(articles, encoder)
        for question in corpus.questions:
            if question.article not in asked:
                continue
            words, meaning = folder.knowledge.evidence(question.text)
            used = weights or weights_for(question.text, meaning)
            values = used.odds(words, meaning)
            best = int(values.argmax())
            evidence.append([words[best], 0.0 if meaning is None else meaning[best]])
            odds.append(values[best])
            known.append(question.article in articles)
    return np.array(evidence), np.array(odds), np.array(known)


def without_paragraph(corpus: Corpus, numbers: range, encoder: Encoder | None) -> np.ndarray:
    """Return the log odds of the best passage when only the answering paragraph is missing."""
    odds = []
    for place in range(max(len(corpus.articles[number]) for number in numbers)):
        kept = {
            number: [part for index, part in enumerate(corpus.articles[number]) if index != place]
            for number in numbers
        }
        folder = Folder(kept, encoder)
        for question in corpus.questions:
            if question.article in numbers and question.paragraph == place:
                odds.append(by_score(folder.knowledge, question.text).max())
    return np.array(odds)


def fit(corpora: Sequence[Corpus], encoder: Encoder | None, start: Weights) -> Weights:
    """Return weights fitted on the first half of the articles, the best passage chosen by them."""
    weights = start
    for _ in range(4):
        parts = [outcomes(corpus, range(24), encoder, weights) for corpus in corpora]
        evidence = np.concatenate([part[0] for part in parts])
        known = np.concatenate([part[2] for part in parts])
        found = LogisticRegression(C=100).fit(evidence, known)
        words, meaning = found.coef_[0]
        weights = Weights(float(found.intercept_[0]), float(words), float(meaning))
    return weights


def report(name: str, known: np.ndarray, odds: np.ndarray, hard: np.ndarray) -> None:
    refused, answered = odds[known] < 0, odds[~known] >= 0
    strict = np.quantile(odds[~known], 0.95)
    print(
        f"  {name:18} AUC {roc_auc_score(known, odds):.3f}  at 0.5: refused though known "
        f"{refused.mean():.1%}, answered though unknown {answered.mean():.1%}; known ones answered "
        f"when 5 % of unknown ones are {(odds[known] > strict).mean():.1%}; answered with only the "
        f"paragraph missing {(hard >= 0).mean():.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, help="folder of a model that embeds")
    parser.add_argument("--data", type=Path, help="folder of XQuAD")
    parser.add_argument("--fit", action="store_true", help="print fitted weights")
    given = parser.parse_args()
    data = given.data or public_data("xquad")
    print(machine())
    corpora = {lang: read(data / f"xquad.{lang}.json") for lang in ("en", "zh")}
    encoder = encoder_of(Predictor.open(given.encoder)) if given.encoder else None
    if given.fit:
        encoder = encoder and remembering(encoder)
        for lang, corpus in corpora.items():
            print("BY_WORDS", lang, fit([corpus], None, search.BY_WORDS[lang]))
        if encoder:
            print("BY_BOTH", fit([corpora["en"]], encoder, search.BY_BOTH))
        return
    for lang, corpus in corpora.items():
        retrieval(lang, corpus, encoder)
    encoder = encoder and remembering(encoder)
    for lang, corpus in corpora.items():
        print(f"{lang}, second half of the articles:")
        for name, used in {"words": None, "with the encoder": encoder}.items():
            if used is not None or name == "words":
                _, odds, known = outcomes(corpus, range(24, 48), used)
                report(name, known, odds, without_paragraph(corpus, range(24, 48), used))


if __name__ == "__main__":
    main()
