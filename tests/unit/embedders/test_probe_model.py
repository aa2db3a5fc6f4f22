from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedmig.embedders import check_fingerprint, load_embedder, probe_model
from embedmig.errors import InvalidVectorError, NotFoundError, ProviderError, UsageError
from embedmig.types import Distance

InstallProvider = Callable[[str, str, str], None]

SCALED = """
from embedmig.embedders.hashing import HashingEmbedder

class Scaled(HashingEmbedder):
    def _embed(self, texts, prompt):
        return self.change(super()._embed(texts, prompt), texts)
    def change(self, vectors, texts):
        {change}
"""


def probe(**changes: Any) -> Any:
    return probe_model(**{"key": "tiny@2", "provider": "hashing", "options": {}, **changes})


def test_it_finds_out_what_the_model_is() -> None:
    model, fingerprint = probe(options={"dimensions": 48}, document_prompt="d ", query_prompt="q ", max_tokens=9)
    assert (model.key, model.provider, model.dimensions, model.normalised) == ("tiny@2", "hashing", 48, True)
    assert (model.document_prompt, model.query_prompt, model.max_tokens) == ("d ", "q ", 9)
    assert model.distance is Distance.COSINE
    assert model.options == {"dimensions": 48}
    assert fingerprint.vectors.shape[1] == 48
    assert check_fingerprint(model, fingerprint, load_embedder(model)) == pytest.approx(1)


def test_distance_and_price_are_taken_as_told() -> None:
    model, _ = probe(distance=Distance.INNER_PRODUCT, price_per_million_tokens=0.13)
    assert (model.distance, model.price_per_million_tokens, model.max_tokens) == (Distance.INNER_PRODUCT, 0.13, None)


@pytest.mark.parametrize(("told", "expected", "length"), [(None, False, 3), (True, True, 1), (False, False, 3)])
def test_normalised_is_measured_unless_it_is_told(
    told: bool | None, expected: bool, length: float, install_provider: InstallProvider
) -> None:
    install_provider("scaled", "scaled_module:Scaled", SCALED.format(change="return 3 * vectors"))
    model, fingerprint = probe(provider="scaled", normalised=told)
    assert model.normalised is expected
    np.testing.assert_allclose(np.linalg.norm(fingerprint.vectors, axis=1), length, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(load_embedder(model).embed_documents(["a"])), length, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("vectors[-1, 0] = float('nan'); return vectors", "NaN or infinity for plain texts"),
        ("return 0 * vectors", "all zeros for every text"),
        ("return vectors[:, 1:]", "says 32 dimensions and gives 31"),
    ],
)
def test_vectors_unfit_to_store_are_refused(change: str, said: str, install_provider: InstallProvider) -> None:
    install_provider("scaled", "scaled_module:Scaled", SCALED.format(change=change))
    with pytest.raises(InvalidVectorError, match=f"tiny@2.*{said}"):
        probe(provider="scaled")


def test_a_model_that_knows_only_latin_letters_can_be_registered(install_provider: InstallProvider) -> None:
    change = "vectors[[not t.isascii() for t in texts]] = 0; return vectors"
    install_provider("scaled", "scaled_module:Scaled", SCALED.format(change=change))
    model, fingerprint = probe(provider="scaled")
    assert not fingerprint.vectors.any(axis=1).all()
    assert check_fingerprint(model, fingerprint, load_embedder(model)) == pytest.approx(1)


def test_vectors_that_depend_on_the_batch_are_refused(install_provider: InstallProvider) -> None:
    install_provider(
        "scaled", "scaled_module:Scaled", SCALED.format(change="return vectors - vectors.mean(axis=0) / 2")
    )
    with pytest.raises(ProviderError, match="tiny@2 gives other vectors for the same texts"):
        probe(provider="scaled")


def test_a_limit_the_model_cannot_keep_is_refused(install_provider: InstallProvider) -> None:
    source = (
        "from embedmig.embedders.hashing import HashingEmbedder\n"
        "def open_scaled(*, max_tokens, **rest):\n"
        "    return HashingEmbedder(max_tokens=min(max_tokens or 20, 20), **rest)\n"
    )
    install_provider("scaled", "scaled_module:open_scaled", source)
    with pytest.raises(UsageError, match="tiny@2 cannot be told to truncate at 30 tokens: it truncates at 20"):
        probe(provider="scaled", max_tokens=30)
    assert probe(provider="scaled")[0].max_tokens == 20


def test_bad_calls_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="name@revision"):
        probe(key="tiny")
    with pytest.raises(UsageError, match="leaves nothing to embed"):
        probe(max_tokens=0)
    with pytest.raises(NotFoundError, match="no provider cohere"):
        probe(provider="cohere")
