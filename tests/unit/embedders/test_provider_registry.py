import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from embedmig.embedders import known_providers, load_embedder
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.errors import InvalidVectorError, NotFoundError, ProviderError, RefusedError, UsageError
from embedmig.types import Model, ModelState

InstallProvider = Callable[[str, str, str], None]

TINY = Model(name="tiny", revision="1", provider="hashing", dimensions=8, options={"dimensions": 8})

BROUGHT = """
class Brought:
    dimensions, max_tokens, compute_type = 8, None, "cpu/float32"
    def __init__(self, *, options, document_prompt, query_prompt, max_tokens):
        self.options = options
    def embed_documents(self, texts):
        return {answer}
    embed_queries = embed_documents
    def count_tokens(self, texts):
        return [1 for text in texts]
"""


def brought(**changes: object) -> Model:
    return dataclasses.replace(TINY, provider="brought", options={}, **changes)  # type: ignore[arg-type]


def test_a_model_is_loaded_once_and_shared() -> None:
    assert load_embedder(TINY) is load_embedder(dataclasses.replace(TINY, price_per_million_tokens=1.0))
    assert load_embedder(TINY) is not load_embedder(dataclasses.replace(TINY, options={"dimensions": 8, "seed": 2}))


def test_prompts_and_limit_of_the_model_reach_the_provider() -> None:
    model = dataclasses.replace(TINY, document_prompt="d ", query_prompt="q ", max_tokens=2)
    plain = HashingEmbedder(options=TINY.options, max_tokens=2)
    assert np.array_equal(load_embedder(model).embed_documents(["a b c"]), plain.embed_documents(["d a"]))
    assert np.array_equal(load_embedder(model).embed_queries(["a b c"]), plain.embed_queries(["q a"]))
    assert load_embedder(model).count_tokens(["a b c"]) == [4]
    assert load_embedder(model).max_tokens == 2


def test_a_model_that_is_gone_is_refused_even_if_it_was_loaded_before() -> None:
    load_embedder(TINY)
    with pytest.raises(RefusedError, match="tiny@1 is gone"):
        load_embedder(dataclasses.replace(TINY, state=ModelState.GONE))


def test_an_unknown_provider_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFoundError, match="no provider hashes; there are: hashing, openai, sentence-transformers"):
        load_embedder(dataclasses.replace(TINY, provider="hashes"))


def test_other_dimensions_than_registered_are_an_error_of_the_model() -> None:
    with pytest.raises(ProviderError, match="registered with 9 dimensions and now has 8"):
        load_embedder(dataclasses.replace(TINY, dimensions=9))


def test_an_error_of_ours_in_the_options_stays_what_it_is() -> None:
    with pytest.raises(UsageError, match="no option colour"):
        load_embedder(dataclasses.replace(TINY, options={"colour": 1}))


def test_an_installed_package_brings_a_provider(install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer="[[3.0] + [0] * 7 for text in texts]"))
    assert "brought" in known_providers()
    vectors = load_embedder(brought()).embed_documents(["a", "b"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1.0] + [0.0] * 7] * 2


def test_vectors_of_a_model_that_is_not_normalised_keep_their_length(install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer="[[3.0] + [0] * 7 for text in texts]"))
    assert load_embedder(brought(normalised=False)).embed_queries(["a"])[0, 0] == 3.0


@pytest.mark.parametrize("value", ["0.0", "float('nan')", "float('inf')"])
def test_normalising_does_not_hide_a_bad_vector(value: str, install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer=f"[[{value}] * 8 for text in texts]"))
    np.testing.assert_array_equal(load_embedder(brought()).embed_documents(["a"]), [[float(eval(value))] * 8])


@pytest.mark.parametrize("answer", ["[[1.0] * 8]", "[1.0, 2.0]", "[]"])
def test_anything_but_one_row_a_text_is_an_error(answer: str, install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer=answer))
    with pytest.raises(InvalidVectorError, match=r"brought|tiny@1 gave an array of shape .* for 2 texts"):
        load_embedder(brought()).embed_documents(["a", "b"])


@pytest.mark.parametrize("answer", ["1 / 0", "[[1.0], [1.0, 2.0]]", "'no vectors'"])
def test_what_a_provider_raises_or_garbles_is_a_provider_error(answer: str, install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer=answer))
    with pytest.raises(ProviderError, match="tiny@1"):
        load_embedder(brought()).embed_documents(["a", "b"])


def test_no_texts_are_no_call(install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", BROUGHT.format(answer="1 / 0"))
    assert load_embedder(brought()).embed_documents([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_like_this", "could not be imported: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("def Brought(**settings): raise KeyError('BROUGHT_API_KEY')", "could not load tiny@1: KeyError"),
        ("def Brought(): pass", "could not load tiny@1: TypeError"),
        ("def Brought(**settings): return [1]", "gave a list without dimensions, max_tokens, compute_type, embed_docu"),
    ],
)
def test_a_broken_provider_is_named(source: str, said: str, install_provider: InstallProvider) -> None:
    install_provider("brought", "brought_module:Brought", source)
    with pytest.raises(ProviderError, match=f"the provider brought.*{said}"):
        load_embedder(brought())


def test_a_package_cannot_take_the_name_of_a_provider_of_ours(install_provider: InstallProvider) -> None:
    install_provider("hashing", "brought_module:Brought", "import nothing_like_this")
    assert load_embedder(TINY).dimensions == 8
    assert known_providers().count("hashing") == 1
