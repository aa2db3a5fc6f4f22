import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from embedmig.embedders import check_fingerprint, known_providers, load_embedder, probe_model

InstallProvider = Callable[[str, str, str], None]

PAGE = Path(__file__).parents[3] / "docs" / "embedders.md"


def test_the_example_on_the_page_is_a_provider_that_works(install_provider: InstallProvider) -> None:
    page = PAGE.read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (project,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    ((name, target),) = tomllib.loads(project)["project"]["entry-points"]["embedmig.embedders"].items()
    install_provider(name, target, source)

    assert name in known_providers()
    model, fingerprint = probe_model(key="letters@1", provider=name, options={}, query_prompt="search: ")
    embedder = load_embedder(model)
    assert check_fingerprint(model, fingerprint, embedder) > 0.99999
    assert (model.dimensions, model.normalised, model.max_tokens) == (64, False, None)
    documents, queries = embedder.embed_documents(["abba"]), embedder.embed_queries(["abba"])
    assert documents[0, ord("b") - 64] == 2 == np.count_nonzero(documents[0])
    assert queries[0].sum() == len("search: abba")
    assert embedder.count_tokens(["abba", ""]) == [4, 0]


def test_the_page_names_every_provider_of_ours() -> None:
    for provider in known_providers():
        assert f"| `{provider}` |" in PAGE.read_text()
