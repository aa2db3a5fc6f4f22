"""The estimators are scikit-learn's to use, and do without it."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.utils.validation import check_is_fitted

from embedmig.adapters import (
    CentredProcrustesAdapter,
    ProcrustesAdapter,
    RankingAdapter,
    RidgeAdapter,
    SelfDistilledAdapter,
    TextBridge,
)
from embedmig.errors import UsageError
from tests.unit.adapters.conftest import MakePairs

CLASSES = (RidgeAdapter, ProcrustesAdapter, CentredProcrustesAdapter, SelfDistilledAdapter, RankingAdapter, TextBridge)


@pytest.mark.parametrize("make", CLASSES)
def test_a_clone_has_the_parameters_and_nothing_learned(make: type[RidgeAdapter]) -> None:
    one = make(normalise=False)
    other = clone(one)
    assert other is not one
    assert other.get_params() == one.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(other)


def test_a_clone_of_a_fitted_one_forgets(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    fitted = RidgeAdapter(prior=np.zeros((24, 32), np.float32)).fit(pairs.old, pairs.new)
    check_is_fitted(fitted)
    fresh = clone(fitted)
    assert not hasattr(fresh, "weights_")
    np.testing.assert_array_equal(fresh.prior, fitted.prior)


def test_a_pipeline_fits_and_transforms(make_pairs: MakePairs) -> None:
    pairs = make_pairs(700)
    pipeline = make_pipeline(Normalizer(), RidgeAdapter()).fit(pairs.old * 4, pairs.new)
    np.testing.assert_allclose(
        pipeline.transform(pairs.old * 4), RidgeAdapter().fit_transform(pairs.old, pairs.new), atol=1e-4
    )
    assert pipeline.score(pairs.old, pairs.new) > 0.8
    then = make_pipeline(RidgeAdapter(), FunctionTransformer(np.abs)).fit(pairs.old, pairs.new)
    assert (then.transform(pairs.old) >= 0).all()


def test_a_grid_search_finds_the_penalty(make_pairs: MakePairs) -> None:
    pairs = make_pairs(1200, noise=0.05)
    search = GridSearchCV(RidgeAdapter(), {"alpha": [1e-2, 1e5]}, cv=3).fit(pairs.old, pairs.new)
    assert search.best_params_ == {"alpha": 1e-2}
    assert search.transform(pairs.old).shape == (1200, 32)


def test_a_grid_search_reaches_into_a_pipeline(make_pairs: MakePairs) -> None:
    pairs = make_pairs(1100)
    search = GridSearchCV(make_pipeline(Normalizer(), RidgeAdapter()), {"ridgeadapter__alpha": [0.1, 1e6]}, cv=2)
    assert search.fit(pairs.old, pairs.new).best_params_ == {"ridgeadapter__alpha": 0.1}


def test_cross_validation_scores_by_mean_cosine(make_pairs: MakePairs) -> None:
    pairs = make_pairs(900)
    scores = cross_val_score(ProcrustesAdapter(), pairs.old, pairs.new, cv=3)
    assert ((scores > 0.3) & (scores <= 1)).all()


def test_a_parameter_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="no parameter lambda_; it has alpha, normalise, prior"):
        RidgeAdapter().set_params(lambda_=3)
    assert RidgeAdapter().set_params(alpha=3.0).alpha == 3.0


def test_it_shows_what_differs_from_the_defaults() -> None:
    assert repr(RidgeAdapter(alpha=0.5)) == "RidgeAdapter(alpha=0.5)"
    assert repr(ProcrustesAdapter()) == "ProcrustesAdapter()"


def test_adapters_are_imported_and_fitted_without_scikit_learn_scipy_or_safetensors() -> None:
    program = """
import sys
import numpy as np
from embedmig.adapters import Direction, Pairs, select_adapter
rows = np.random.default_rng(0).normal(size=(600, 8)).astype('float32')
select_adapter(Pairs(old=rows, new=rows), Direction.QUERY)
print([name for name in ('sklearn', 'scipy', 'safetensors', 'torch') if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
