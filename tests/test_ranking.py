import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from anomaly.steerability.ranking import ndcg, precision_at, ranked, reciprocal_rank

SIMILARITY = np.array([0.9, 0.1, 0.8, 0.3])
RELEVANT = np.array([False, True, True, False])  # ranks 4 and 2


def test_by_hand():
    assert ranked(SIMILARITY, RELEVANT).tolist() == [False, True, False, True]
    assert [precision_at(SIMILARITY, RELEVANT, k) for k in (1, 2, 4)] == [0, 0.5, 0.5]
    assert reciprocal_rank(SIMILARITY, RELEVANT) == 0.5
    gain = 1 / np.log2(3) + 1 / np.log2(5)
    assert ndcg(SIMILARITY, RELEVANT) == pytest.approx(gain / (1 + 1 / np.log2(3)))


@pytest.mark.parametrize("seed", range(5))
def test_as_scikit_learn_has_it(seed):
    rng = np.random.default_rng(seed)
    similarity, relevant = rng.random(30), rng.random(30) < 0.2
    relevant[seed] = True
    assert ndcg(similarity, relevant) == pytest.approx(ndcg_score([relevant.astype(float)], [similarity]))
    only = np.arange(30) == seed  # with one relevant, the reciprocal rank is the average precision
    expected = label_ranking_average_precision_score([only], [similarity])
    assert reciprocal_rank(similarity, only) == pytest.approx(expected)
    first = np.argsort(-similarity)[:7]
    assert precision_at(similarity, relevant, 7) == pytest.approx(relevant[first].mean())


def test_ties_count_against_the_query():
    same = np.ones(4)
    assert precision_at(same, RELEVANT, 2) == 0 and reciprocal_rank(same, RELEVANT) == pytest.approx(1 / 3)


def test_what_is_excluded_is_never_found():
    similarity = np.where(RELEVANT, -np.inf, SIMILARITY)
    assert precision_at(similarity, ~RELEVANT, 2) == 1
