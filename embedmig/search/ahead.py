"""Loads the models that a change of the route would ask for, before a query does. Nothing relies on it."""

import logging
import threading
from collections.abc import Iterator

from embedmig.catalog.serving import Serving
from embedmig.errors import EmbedmigError
from embedmig.search.embedding import load_checked
from embedmig.search.indexes import find_index
from embedmig.types import Model, ModelState

_log = logging.getLogger(__name__)


class Ahead:
    """Of one searcher. Each model is tried once, in a thread of its own that ends with it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tried: set[int] = set()

    def look(self, serving: Serving) -> None:
        """Loads both models of an open migration that may come to serve. Returns at once."""
        wanted = [model for model in models_to_come(serving) if model.id not in self._tried]
        if wanted:
            self._tried.update(model.id for model in wanted)
            threading.Thread(target=self._load, args=(wanted,), name="embedmig-ahead", daemon=True).start()

    def _load(self, models: list[Model]) -> None:
        for model in models:
            try:
                load_checked(self._url, model)
            except EmbedmigError as error:
                _log.warning("%s could not be loaded ahead of the queries that may need it: %s", model.key, error)


def models_to_come(serving: Serving) -> Iterator[Model]:
    """Those that source and target are asked with while a migration is open, once the target is filled and has an
    index: from then on it takes one command to make it serve, and one to take it back."""
    if serving.target is None or serving.target.filled_at is None or find_index(serving, serving.target) is None:
        return
    for slot in (serving.source, serving.target):
        asked = serving.asked_model(slot)
        if asked.state is not ModelState.GONE:
            yield asked
