"""Which evaluated policy is the best."""

from __future__ import annotations

import numpy as np
import pytest

from sac_learner.evaluations import Evaluation, Evaluations, RememberedPolicies

ARM = ("arm", 1)


def test_versions_in_use_are_remembered_longest() -> None:
    policies = RememberedPolicies(capacity=2)
    for version in (1, 2):
        policies.add(version, {"w": np.zeros(1, np.float32)})
    policies.in_use(1)
    policies.in_use(99)
    policies.add(3, {})
    assert policies.get(1) is not None
    assert policies.get(2) is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Evaluation(return_mean=-5.0), Evaluation()),
        (Evaluation(return_mean=5.0), Evaluation(return_mean=4.0)),
        (
            Evaluation(return_mean=1.0, success_rate=0.5),
            Evaluation(return_mean=9.0, success_rate=0.4),
        ),
        (
            Evaluation(return_mean=2.0, success_rate=0.5),
            Evaluation(return_mean=1.0, success_rate=0.5),
        ),
        (Evaluation(return_mean=0.0, success_rate=0.0), Evaluation(return_mean=9.0)),
    ],
)
def test_success_counts_before_the_return(better: Evaluation, worse: Evaluation) -> None:
    assert better.beats(worse)
    assert not Evaluation(return_mean=better.return_mean).beats(
        Evaluation(return_mean=better.return_mean)
    )


def test_each_evaluation_is_news_once() -> None:
    evaluations = Evaluations()
    assert not evaluations.hear(ARM, True, 0, Evaluation())
    assert evaluations.under_way
    assert evaluations.hear(ARM, False, 1, Evaluation(return_mean=3.0))
    assert not evaluations.under_way
    assert not evaluations.hear(ARM, False, 1, Evaluation(return_mean=3.0))
    assert not evaluations.hear(ARM, False, 2, Evaluation())  # nothing was measured
    assert (evaluations.count, evaluations.newest.return_mean) == (1, 3.0)


def test_what_is_remembered_of_actors_is_bounded() -> None:
    evaluations = Evaluations(capacity=10)
    for session in range(1000):
        evaluations.hear(("arm", session), True, session, Evaluation(return_mean=0.0))
        assert len(evaluations._counts) <= 11
        assert len(evaluations._evaluating) <= 11
