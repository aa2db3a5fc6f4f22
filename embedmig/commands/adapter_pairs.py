"""The pairs that adapters are fitted on and measured by: read, planned for, and completed by the new model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from embedmig.adapters import Asked, Direction, Excerpts, Pairs, cut_excerpts, held_out_rows
from embedmig.adapters.checks import require_enough
from embedmig.adapters.excerpts import N_EXCERPTS
from embedmig.adapters.kinds import Rows
from embedmig.backfill.embedding import SlotEmbedder
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.pair_embedding import (
    OnEmbedded,
    TextsForecast,
    complete_pairs,
    embed_as_queries,
    forecast_texts,
    open_model,
)
from embedmig.backfill.pairing import HalfPairs, PairSource, pairs_of_keys, sample_pairs
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.models import get_fingerprint, get_model
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.types import Collection, Distance, Floats, Key, Slot
from embedmig.validation.kept_vectors import Kind, VectorFile, embed_once, hash_text, vector_file
from embedmig.validation.queries import Query


@dataclass(frozen=True, kw_only=True)
class PairsPlan:
    """What the pairs take, said before anything is embedded."""

    collection: str
    direction: str
    old_model: str
    new_model: str
    pairs: int
    """Rows with a true, present old vector."""
    reused: int
    """Of those: the new model's vector stands in its slot already."""
    kept: int
    """Of those: an earlier run embedded it, and kept it on disk."""
    judged: int
    """Of those: named by the judgments, beside the sample."""
    documents: TextsForecast
    """To be embedded by the new model."""
    queries: TextsForecast
    """To be embedded as queries beside them: the file's, or excerpts of the documents to choose by."""

    @property
    def cost(self) -> float | None:
        """Of all that is to be embedded, in the price's currency; None without a price."""
        costs = [one.cost for one in (self.documents, self.queries) if one.cost is not None]
        return sum(costs) if costs else None


_KINDS: tuple[Kind, Kind] = ("documents", "queries")

OnPlan = Callable[[PairsPlan], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """Complete pairs, and what to choose and measure by."""

    plan: PairsPlan
    pairs: Pairs
    sampled: int
    """So many of the pairs, from the first on, are of the sample; the judgments named the others."""
    asked: Asked | None
    excerpts: Excerpts | None
    not_embedded: int
    """Rows that the new model could not embed: left out."""
    tokens: int | None
    """Billed; None for a model that does not count."""
    last_place: int | None
    """Where the sample ends; None: it has every row that can be paired."""


def find_source(
    conn: Connection, collection: Collection, *, new_model: str | None, old_model: str | None = None
) -> PairSource:
    """Where pairs between the two models come from. None: the models of the open migration, or of the only slot.

    Raises UsageError when there is no new model, or it is the old one; RefusedError when no slot holds vectors of the
    old one.
    """
    slots, migration = list_slots(conn, collection), find_migration(conn, collection)
    if new_model is None and migration is None:
        raise UsageError(
            f"{collection.name} has no open migration: say which model the adapter is for, --to NAME@REVISION"
        )
    by_id = {slot.id: slot for slot in slots}
    new = get_model(conn, by_id[migration.target_id].model.key if new_model is None and migration else str(new_model))
    old = _old_slot(slots, None if migration is None else by_id[migration.source_id], old_model, collection)
    if old.model.id == new.id:
        raise UsageError(f"slot {old.name} of {collection.name} holds vectors of {new.key} already: there is no gap")
    return PairSource(
        collection=collection,
        old=old,
        new_model=new,
        new=next((slot for slot in slots if slot.model.id == new.id), None),
    )


def _old_slot(slots: Sequence[Slot], source: Slot | None, old_model: str | None, collection: Collection) -> Slot:
    if old_model is None:
        return slots[-1] if source is None else source
    for slot in slots:
        if slot.model.key == old_model:
            return slot
    raise RefusedError(f"no slot of {collection.name} holds vectors of {old_model}: there is nothing to pair with")


def searched_distance(source: PairSource, direction: Direction) -> Distance:
    """How the space that the map leads to is searched; of unit length, lengths mean nothing whatever the operator."""
    searched = source.old.model if direction is Direction.QUERY else source.new_model
    return Distance.COSINE if searched.normalised else searched.distance


def gather_material(
    db: Database,
    source: PairSource,
    direction: Direction,
    *,
    sample: int,
    seed: int,
    cache_dir: Path,
    asked: Sequence[Query] = (),
    after: int | None = None,
    with_excerpts: bool = False,
    fewest: int = 1,
    on_plan: OnPlan | None = None,
    on_embedded: OnEmbedded | None = None,
) -> Material:
    """Reads ``sample`` rows and those that ``asked`` judges, says what they take, and embeds what neither the new
    model's slot holds nor ``cache_dir``, where an earlier run left it. ``with_excerpts``: pieces of the documents are
    embedded as queries, where none are asked.

    Raises UsageError for judgments of no key, AdapterInputError under ``fewest`` pairs, ProviderError.
    """
    with db.connect() as conn:
        keep_key_text(conn, source.collection)
        fingerprint = get_fingerprint(conn, source.new_model)
        half = sample_pairs(conn, source, limit=sample, seed=seed, after=after)
        sample_keys = set(half.keys)
        judged = {key for query in asked for key in (query.relevant or {})}
        if judged:
            half = half.joined(pairs_of_keys(conn, source, judged, seed=seed))
    if len(half) < fewest:
        require_enough(len(half))
    documents, queries = (vector_file(cache_dir, source.new_model, fingerprint, kind) for kind in _KINDS)
    half, stored = _take_kept(documents, half), int(half.has_new.sum())
    rows = held_out_rows(len(half), seed=seed)[:N_EXCERPTS] if with_excerpts and not asked else np.empty(0, np.int64)
    with open_model(db, source.new_model) as work:
        plan = PairsPlan(
            collection=source.collection.name,
            direction=direction.value,
            old_model=source.old.model.key,
            new_model=source.new_model.key,
            pairs=len(half),
            reused=stored,
            kept=int(half.has_new.sum()) - stored,
            judged=len(half) - len(sample_keys),
            documents=forecast_texts(
                work.model, work.embedder, [half.texts[row] for row in np.flatnonzero(~half.has_new).tolist()]
            ),
            queries=forecast_texts(
                work.model, work.embedder, [query.text for query in asked] or _cut(half, rows, seed)
            ),
        )
        if on_plan is not None:
            on_plan(plan)
        complete, lost = complete_pairs(work, half, on_embedded, keep=partial(_keep, documents))
        return Material(
            plan=plan,
            pairs=Pairs(old=complete.old, new=complete.new, texts=complete.texts),
            sampled=sum(key in sample_keys for key in complete.keys),
            asked=_ask(work, complete, asked, queries, on_embedded) if asked else None,
            excerpts=_excerpt(work, complete, seed, queries, on_embedded) if len(rows) else None,
            not_embedded=lost,
            tokens=work.take_billed(),
            last_place=half.last_place,
        )


def _take_kept(file: VectorFile | None, half: HalfPairs) -> HalfPairs:
    """With the new vectors that an earlier run kept."""
    lacking = np.flatnonzero(~half.has_new).tolist()
    hashes = [hash_text(half.texts[row]) for row in lacking]
    known = {} if file is None else file.find(hashes)
    new, has_new = half.new.copy(), half.has_new.copy()
    for row, hashed in zip(lacking, hashes, strict=True):
        if hashed in known:
            new[row], has_new[row] = known[hashed], True
    return replace(half, new=new, has_new=has_new)


def _keep(file: VectorFile | None, texts: Sequence[str], vectors: Floats) -> None:
    if file is not None:
        file.add([hash_text(text) for text in texts], vectors)


def _embed_queries(
    work: SlotEmbedder, texts: Sequence[str], file: VectorFile | None, on_embedded: OnEmbedded | None
) -> Floats:
    return embed_once(file, texts, partial(embed_as_queries, work), work.model.dimensions, on_embedded).vectors


def _ask(
    work: SlotEmbedder,
    pairs: HalfPairs,
    queries: Sequence[Query],
    file: VectorFile | None,
    on_embedded: OnEmbedded | None,
) -> Asked:
    """With judgments, those that have some in the pairs alone; a key is one row as Postgres prints it."""
    row_of: Mapping[Key, int] = {key: row for row, key in enumerate(pairs.keys)}
    judgments = [
        {row_of[key]: float(grade) for key, grade in (query.relevant or {}).items() if key in row_of}
        for query in queries
    ]
    if not any(judgments):
        return Asked(vectors=_embed_queries(work, [query.text for query in queries], file, on_embedded))
    there = [number for number, gains in enumerate(judgments) if gains]
    vectors = _embed_queries(work, [queries[number].text for number in there], file, on_embedded)
    return Asked(vectors=vectors, judgments=[judgments[number] for number in there])


def _cut(pairs: HalfPairs, rows: Rows, seed: int) -> list[str]:
    return cut_excerpts([pairs.texts[row] for row in rows.tolist()], seed=seed)


def _excerpt(
    work: SlotEmbedder, pairs: HalfPairs, seed: int, file: VectorFile | None, on_embedded: OnEmbedded | None
) -> Excerpts | None:
    rows = held_out_rows(len(pairs), seed=seed)[:N_EXCERPTS]
    texts = _cut(pairs, rows, seed)
    there = [place for place, text in enumerate(texts) if text.strip()]
    if not there:
        return None
    vectors = _embed_queries(work, [texts[place] for place in there], file, on_embedded)
    return Excerpts(vectors=vectors, rows=rows[there])
