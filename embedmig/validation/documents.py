"""Rows of one document taken together, so that another chunk of it is no disagreement. Pure."""

from collections.abc import Mapping

import numpy as np

from embedmig.types import Key
from embedmig.validation.running_top_k import Ranking


def take_documents(ranking: Ranking, document_of: Mapping[Key, str | None]) -> Ranking:
    """Each document once, at the place and distance of its nearest row; a row without a document stands for itself,
    under a key that no document has."""
    documents: dict[Key, int] = {}
    for place, key in enumerate(ranking.keys):
        document = document_of.get(key)
        documents.setdefault(("", *key) if document is None else (document,), place)
    places = np.fromiter(documents.values(), dtype=np.int64, count=len(documents))
    return Ranking(keys=tuple(documents), distances=ranking.distances[places])


def leave_out(ranking: Ranking, key: Key, k: int) -> Ranking:
    """The first ``k`` without ``key``: a row that serves as a query finds itself."""
    places = [place for place, other in enumerate(ranking.keys) if other != key][:k]
    return Ranking(keys=tuple(ranking.keys[place] for place in places), distances=ranking.distances[places])
