"""--batch-size auto on a real table."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.results import RunOptions
from embedmig.backfill.running import reembed
from embedmig.backfill.slices import GroupSize
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder
from embedmig.types import Floats, Model, Placement
from tests.support import NEW, expand_docs, make_docs


class Spy:
    """The model, and how many texts each call brought."""

    def __init__(self, model: Model) -> None:
        self._inner = load_embedder(model)
        self.dimensions, self.max_tokens, self.compute_type = model.dimensions, None, "cpu"
        self.count_tokens, self.embed_queries = self._inner.count_tokens, self._inner.embed_queries
        self.calls: list[int] = []

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        self.calls.append(len(texts))
        return self._inner.embed_documents(texts)


@pytest.mark.parametrize(("aim_s", "grows"), [(0.0001, False), (60.0, True)])
def test_batches_shrink_or_grow_towards_the_time_aimed_at(
    db: Database, conn: Connection, aim_s: float, grows: bool
) -> None:
    docs = make_docs(conn, 4000)
    expand_docs(db, Placement.COMPANION)
    spy = Spy(NEW)
    options = WorkerOptions(size=GroupSize(rows=100), rest_s=0.02, idle_s=0.02)
    run = RunOptions(worker=replace(options, aim_s=aim_s), load=lambda model: spy)
    assert reembed(db, docs, options=run).outcome == "done"
    assert sum(spy.calls) == 4000
    assert (max(spy.calls) > 100) is grows
    assert (min(spy.calls[-10:]) < 50) or grows
