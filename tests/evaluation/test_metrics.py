"""Small cases computed by hand, and each fast resampling against the metric itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from llmwright.core.errors import ConfigError, InputError
from llmwright.evaluation.bootstrap import resamples, rows_of
from llmwright.evaluation.config import METRICS
from llmwright.evaluation.metrics.metric import Metric, as_metric
from llmwright.evaluation.outcomes import Outcomes


def metric(name: str) -> Metric:
    return as_metric(name, METRICS.get(name))


def pets() -> Outcomes:
    # cat: 2 right, 1 taken for dog; dog: 1 right, 1 taken for cat; owl: never found.
    truth = ["cat", "cat", "cat", "dog", "dog", "owl"]
    answers = ["cat", "cat", "dog", "dog", "cat", "dog"]
    return Outcomes("label", answers, truth, labels=("cat", "dog", "owl", "yak"))


def random_labels(num_rows: int = 60, seed: int = 1) -> Outcomes:
    generator = np.random.default_rng(seed)
    scores_NC = generator.dirichlet(np.ones(4), size=num_rows).round(1)
    labels = ("a", "b", "c", "d")
    answers = [labels[i] for i in scores_NC.argmax(axis=1)]
    truth = [
        answer if generator.random() < 0.6 else labels[generator.integers(4)] for answer in answers
    ]
    return Outcomes("label", answers, truth, labels=labels, scores_NC=scores_NC)


def random_label_sets(num_rows: int = 50, seed: int = 2) -> Outcomes:
    generator = np.random.default_rng(seed)
    scores_NC = generator.random((num_rows, 3)).round(2)
    labels = ("x", "y", "z")
    answers = [[labels[c] for c in range(3) if row[c] > 0.5] for row in scores_NC]
    truth = [[label for label in labels if generator.random() < 0.4] for _ in answers]
    return Outcomes("labels", answers, truth, labels=labels, scores_NC=scores_NC)


def test_classification_figures_computed_by_hand() -> None:
    outcomes = pets()
    assert metric("accuracy")(outcomes) == pytest.approx(3 / 6)
    assert metric("f1_micro")(outcomes) == pytest.approx(3 / 6)
    # cat: precision 2/3, recall 2/3; dog: 1/3, 1/2; owl: 0, 0. yak does not occur.
    assert metric("precision_macro")(outcomes) == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert metric("recall_macro")(outcomes) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert metric("f1_macro")(outcomes) == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)
    assert metric("f1_weighted")(outcomes) == pytest.approx((3 * 2 / 3 + 2 * 2 / 5) / 6)
    assert metric("f1_macro")(outcomes) == pytest.approx(
        sk.f1_score(outcomes.references, outcomes.predictions, average="macro", zero_division=0)
    )


def test_multi_label_figures_computed_by_hand() -> None:
    outcomes = Outcomes(
        "labels", [["a"], ["a", "b"], []], [["a"], ["b"], ["c"]], labels=("a", "b", "c")
    )
    assert metric("subset_accuracy")(outcomes) == pytest.approx(1 / 3)
    # a: 1 right of 2 answers and 1 truth; b: 1 of 1 and 1; c: never found.
    assert metric("f1_micro")(outcomes) == pytest.approx(2 * 2 / (3 + 3))
    assert metric("f1_macro")(outcomes) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_areas_computed_by_hand() -> None:
    scores_NC = np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])
    truth = ["no", "no", "yes", "yes"]
    answers = ["no", "no", "no", "yes"]
    outcomes = Outcomes("label", answers, truth, labels=("no", "yes"), scores_NC=scores_NC)
    # Pairs (yes, no) ranked right: 0.8 beats both, 0.35 beats 0.1 but not 0.4: 3 of 4.
    assert metric("roc_auc")(outcomes) == pytest.approx(3 / 4)
    assert metric("pr_auc")(outcomes) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert "positive=yes" in metric("roc_auc").signature(outcomes)
    other = Outcomes(
        "label", answers, truth, labels=("no", "yes"), scores_NC=scores_NC, positive="no"
    )
    assert metric("pr_auc")(other) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_multi_class_areas_equal_scikit_learn() -> None:
    outcomes = random_labels()
    truth = [outcomes.labels.index(label) for label in outcomes.references]
    expected = sk.roc_auc_score(
        truth,
        outcomes.scores_NC / outcomes.scores_NC.sum(axis=1, keepdims=True),
        multi_class="ovr",
        average="macro",
    )
    # Our columns are used as they are; these scores already sum to about 1.
    assert metric("roc_auc")(outcomes) == pytest.approx(expected, abs=0.02)
    sets = random_label_sets()
    assert metric("roc_auc")(sets) == pytest.approx(sk.roc_auc_score(sets.truth_NC, sets.scores_NC))
    assert metric("pr_auc")(sets) == pytest.approx(
        sk.average_precision_score(sets.truth_NC, sets.scores_NC)
    )


def test_perplexity_loss_and_bits_computed_by_hand() -> None:
    outcomes = Outcomes(
        "none",
        log_probs_N=np.log([0.25 * 0.25, 0.5]),
        num_tokens_N=np.array([2.0, 1.0]),
        num_bytes_N=np.array([4.0, 1.0]),
    )
    # Five bits over three tokens and five bytes.
    assert metric("perplexity")(outcomes) == pytest.approx(2 ** (5 / 3))
    assert metric("loss")(outcomes) == pytest.approx(5 / 3 * math.log(2))
    assert metric("bits_per_byte")(outcomes) == pytest.approx(1.0)
    assert not metric("perplexity").higher_is_better


def test_exact_match_ignores_only_outer_white_space() -> None:
    outcomes = Outcomes("text", ["今天 ", "Cat", "a b"], ["今天", "cat", "ab"])
    assert metric("exact_match")(outcomes) == pytest.approx(1 / 3)


def test_chinese_texts_are_cut_as_chinese() -> None:
    truth = ["今天天气很好", "明天可能会下雨"]
    outcomes = Outcomes("text", ["今天天气晴朗", "明天会下大雨"], truth)
    assert "tok:zh" in metric("bleu").signature(outcomes)
    assert "tok:jieba" in metric("rouge1").signature(outcomes)
    # jieba cuts 我 喜欢 北京 and 我 喜欢 上海; rouge-score alone would find no word at all.
    cities = Outcomes("text", ["我喜欢北京"], ["我喜欢上海"])
    assert metric("rouge1")(cities) == pytest.approx(2 / 3)
    same = Outcomes("text", truth, truth)
    assert metric("bleu")(same) == pytest.approx(100)
    assert metric("rougeL")(same) == pytest.approx(1)


def test_cyrillic_words_are_not_dropped_by_rouge() -> None:
    outcomes = Outcomes("text", ["хорошая погода"], ["плохая погода"])
    assert metric("rouge1")(outcomes) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "name", sorted(n for n in METRICS.names() if metric(n).needs & {"label", "labels"})
)
@pytest.mark.parametrize("make", [random_labels, random_label_sets])
def test_resampled_values_are_the_metric_of_the_resampled_rows(name: str, make) -> None:
    outcomes = make()
    for weights_RN in resamples(len(outcomes), 4, seed=3):
        fast_R = metric(name).resample(outcomes, weights_RN)
        slow_R = [metric(name)(outcomes.take(rows_of(weights_N))) for weights_N in weights_RN]
        np.testing.assert_allclose(fast_R, slow_R, atol=1e-12)


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "rouge1", "rougeL", "exact_match"])
def test_resampled_text_figures_are_the_metric_of_the_resampled_rows(name: str) -> None:
    truth = ["the cat sat on the mat", "a dog ran home at night", "it rains", "no one came"]
    answers = ["the cat sat on a mat", "a dog ran at night", "it rains", "someone came by"]
    outcomes = Outcomes("text", answers, truth)
    for weights_RN in resamples(len(outcomes), 5, seed=0):
        fast_R = metric(name).resample(outcomes, weights_RN)
        slow_R = [metric(name)(outcomes.take(rows_of(weights_N))) for weights_N in weights_RN]
        np.testing.assert_allclose(fast_R, slow_R, atol=1e-9)


def test_undefined_figures_are_nan_and_raise_no_warning() -> None:
    nothing = Outcomes("tags", [["O", "O"]], [["O", "O"]])
    assert math.isnan(metric("seqeval_f1")(nothing))
    one_class = Outcomes(
        "label", ["a", "a"], ["a", "a"], labels=("a", "b"), scores_NC=np.full((2, 2), 0.5)
    )
    assert math.isnan(metric("roc_auc")(one_class))
    never_right = Outcomes("label", ["b", "b"], ["a", "a"])
    assert metric("precision_macro")(never_right) == 0.0


def test_metrics_say_what_they_cannot_measure() -> None:
    texts = Outcomes("text", ["a"], ["a"])
    assert metric("accuracy").obstacle(texts) == "evaluation.obstacle.form"
    assert metric("roc_auc").obstacle(pets()) == "evaluation.obstacle.also"
    words = Outcomes("tags", [["NOUN"]], [["VERB"]])
    assert metric("seqeval_f1").obstacle(words) == "evaluation.obstacle.entities"
    assert metric("token_accuracy").obstacle(words) is None


def test_a_plain_function_is_a_metric() -> None:
    def share_of_cats(predictions: list[str], references: list[str]) -> float:
        return sum(p == "cat" for p in predictions) / len(predictions)

    wrapped = as_metric("share_of_cats", share_of_cats)
    assert wrapped(pets()) == pytest.approx(3 / 6)
    with pytest.raises(InputError, match="EVAL-004"):
        as_metric("five", 5)


def test_an_unknown_metric_names_the_closest() -> None:
    with pytest.raises(ConfigError, match="accuracy"):
        METRICS.get("acuracy")


def test_every_registered_metric_carries_its_registered_name() -> None:
    for name in METRICS.names():
        assert metric(name).name == name
