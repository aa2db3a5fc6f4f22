"""What a model's failures become: a retry, a reason for one row, or the end of the run."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from embedmig.backfill.embedding import KNOWN_TEXT, SlotEmbedder, embed_texts, safe_reason
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.errors import FingerprintError, ProviderError
from embedmig.types import Floats, Model

MODEL = Model(name="m", revision="1", provider="hashing", dimensions=4)


class Scripted:
    """Raises, or gives ones, as the script says for the texts at hand."""

    dimensions, max_tokens, compute_type = 4, None, "cpu"

    def __init__(self, script: Callable[[Sequence[str]], str | None]) -> None:
        self.script = script
        self.calls: list[list[str]] = []

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        self.calls.append(list(texts))
        said = self.script(texts)
        if said is not None:
            raise ProviderError(said)
        return np.ones((len(texts), 4), dtype=np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        return self.embed_documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def at_work(embedder: Scripted, vector_type: str = "vector") -> tuple[SlotEmbedder, list[float]]:
    pauses: list[float] = []
    work = SlotEmbedder(
        model=MODEL,
        vector_type=vector_type,
        embedder=embedder,
        tokens=TokenCounter(embedder),
        cache=VectorCache(),
        sleep=pauses.append,
    )
    return work, pauses


def test_a_batch_that_fails_twice_is_tried_whole_with_growing_pauses() -> None:
    model = Scripted(lambda texts: "busy" if len(model.calls) < 3 else None)
    work, pauses = at_work(model)
    assert embed_texts(work, ["a", "b"]).reasons == {}
    assert model.calls == [["a", "b"]] * 3
    assert len(pauses) == 2
    assert pauses[1] > pauses[0] / 3


def test_one_poison_text_of_many_fails_alone() -> None:
    texts = [f"text {n}" for n in range(64)]
    model = Scripted(lambda batch: "no" if "text 37" in batch else None)
    work, _ = at_work(model)
    embedded = embed_texts(work, texts)
    assert list(embedded.reasons) == [37]
    good = np.delete(embedded.vectors, 37, axis=0)
    assert (good == 1).all()
    assert len(model.calls) <= 3 + 1 + 2 * 6


def test_a_model_that_fails_on_a_harmless_text_too_is_down() -> None:
    model = Scripted(lambda texts: "connection refused")
    work, _ = at_work(model)
    with pytest.raises(ProviderError, match="connection refused"):
        embed_texts(work, ["a", "b", "c"])
    assert model.calls[-1] == [KNOWN_TEXT]


def test_a_changed_model_is_never_taken_for_a_poison_text() -> None:
    class Changed(Scripted):
        def embed_documents(self, texts: Sequence[str]) -> Floats:
            self.calls.append(list(texts))
            raise FingerprintError(model="m@1", cosine=0.5, tolerance=0.999)

    model = Changed(lambda texts: None)
    work, _ = at_work(model)
    with pytest.raises(FingerprintError):
        embed_texts(work, ["a", "b"])
    assert len(model.calls) == 1


def test_a_value_beyond_halfvec_is_a_failure_in_a_halfvec_slot_only() -> None:
    class Large(Scripted):
        def embed_documents(self, texts: Sequence[str]) -> Floats:
            return np.array([[1, 2, 3, 70_000], [1, 2, 3, 4]], dtype=np.float32)

    for vector_type, failed in (("halfvec", [0]), ("vector", [])):
        work, _ = at_work(Large(lambda texts: None), vector_type)
        assert list(embed_texts(work, ["a", "b"]).reasons) == failed


@pytest.mark.parametrize("message", ["cannot take 'my private letter'", "too long: letter"])
def test_a_reason_never_quotes_the_text(message: str) -> None:
    reason = safe_reason(MODEL, ProviderError(message), "my private letter")
    assert "letter" not in reason
    assert "ProviderError" in reason


def test_a_reason_says_what_the_provider_said() -> None:
    assert "429 quota" in safe_reason(MODEL, ProviderError("429 quota"), "my private letter")
