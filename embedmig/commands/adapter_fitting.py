"""adapter fit: a map between two models, chosen by how well it does on documents that it was not fitted on."""

import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedmig.adapters import (
    AdapterWarning,
    CandidateScore,
    Direction,
    LearningCurve,
    Provenance,
    Selection,
    dump_adapter,
    measure_learning,
    select_adapter,
)
from embedmig.adapters.checks import FEWEST_PAIRS
from embedmig.adapters.keeping import read_fingerprints
from embedmig.adapters.kinds import candidates
from embedmig.adapters.storage import require_storage
from embedmig.backfill.pair_embedding import OnEmbedded
from embedmig.backfill.pairing import PairSource
from embedmig.catalog import adapters
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import log_event
from embedmig.catalog.models import get_fingerprint
from embedmig.commands.adapter_pairs import (
    Material,
    OnPlan,
    PairsPlan,
    find_source,
    gather_material,
    searched_distance,
)
from embedmig.db import Database
from embedmig.errors import AdapterInputError, UsageError
from embedmig.settings import Settings, load_settings
from embedmig.types import Model
from embedmig.validation.queries import Query, gather_queries
from embedmig.validation.query_files import read_queries

FLOOR = 0.5


@dataclass(frozen=True, kw_only=True)
class FittedAdapter:
    """What ``adapter fit`` chose, and kept."""

    plan: PairsPlan
    adapter: KeptAdapter | None
    """None: no adapter is good enough, and nothing is kept."""
    reason: str
    scores: tuple[CandidateScore, ...]
    """Of every candidate, held out, in the order in which ties are decided."""
    notes: tuple[str, ...]
    """What was odd about the pairs."""
    pairs: int
    not_embedded: int
    """Rows that the new model could not embed: left out."""
    learning: tuple[tuple[int, float], ...]
    """Pairs, and the share kept with so many; empty where there are too few to tell."""
    more_pairs_help: bool | None
    tokens: int | None
    """Billed; None for a model that does not count."""
    seconds: float


def adapter_fit(
    db: Database,
    collection: str,
    *,
    to: str | None = None,
    direction: str = "query",
    kind: str = "auto",
    sample: int = 20_000,
    queries: Path | None = None,
    floor: float | None = None,
    seed: int = 0,
    name: str | None = None,
    settings: Settings | None = None,
    on_plan: OnPlan | None = None,
    on_embedded: OnEmbedded | None = None,
) -> FittedAdapter:
    """Fits a map between the model of the collection's slot and the model that it moves to, and keeps it.

    ``to``: the new model; the open migration's when not named. ``sample`` rows at random are paired: their stored old
    vectors with the new model's, taken from its slot where they stand there and embedded else (``on_plan`` is told what
    that takes, before). ``kind``: "auto" chooses by held-out documents, or by ``queries``: a file as ``validate`` takes
    it, by nDCG@10 where it has judgments. ``floor``: of the new model's ranking, 0 to 1, below which none is good
    enough; 0.5 for auto, 0 for a kind that was asked for.

    Raises UsageError, ConflictError for a name that is taken, AdapterInputError for under 250 pairs, RefusedError when
    the new model is gone, ProviderError, UnsupportedError without ``embedmig[adapters]``.
    """
    require_storage()
    began, way = time.monotonic(), _read_direction(direction)
    kinds = None if kind == "auto" else (kind,)
    asked = read_asked(queries)
    with db.connect() as conn:
        source = find_source(conn, get_collection(conn, collection), new_model=to)
        if name is not None:
            # Before anything is paid for; whoever takes it meanwhile is met when the adapter is kept.
            adapters.require_free_name(conn, source.collection, name)
    _require_kind(kind, way, source)
    material = gather_material(
        db,
        source,
        way,
        sample=sample,
        seed=seed,
        cache_dir=(settings or load_settings()).cache_dir,
        asked=asked,
        with_excerpts=way is Direction.QUERY,
        fewest=FEWEST_PAIRS,
        on_plan=on_plan,
        on_embedded=on_embedded,
    )
    if floor is None:
        floor = FLOOR if kinds is None else 0.0
    selection, curve, notes = _fit(source, material, way, kinds, floor, seed)
    kept = _keep(db, source, selection, curve, material, notes, seed=seed, name=name) if selection.adapter else None
    return FittedAdapter(
        plan=material.plan,
        adapter=kept,
        reason=selection.reason,
        scores=selection.scores,
        notes=notes,
        pairs=len(material.pairs),
        not_embedded=material.not_embedded,
        learning=_points(curve),
        more_pairs_help=None if curve is None else curve.more_pairs_help,
        tokens=material.tokens,
        seconds=time.monotonic() - began,
    )


def read_asked(queries: Path | None) -> tuple[Query, ...]:
    """The queries of a file as ``validate`` takes it; none without one. Raises UsageError."""
    return () if queries is None else gather_queries(read_queries(queries), str(queries)).queries


def _read_direction(direction: str) -> Direction:
    try:
        return Direction(direction)
    except ValueError:
        raise UsageError(f"a direction is one of {', '.join(Direction)}, not {direction!r}") from None


def _require_kind(kind: str, direction: Direction, source: PairSource) -> None:
    known = candidates(direction, distance=searched_distance(source, direction), with_texts=True)
    if kind not in ("auto", *known):
        raise UsageError(
            f"for direction {direction} between these models a kind is auto, {', '.join(known)}, not {kind!r}"
        )


def _fit(
    source: PairSource,
    material: Material,
    direction: Direction,
    kinds: tuple[str, ...] | None,
    floor: float,
    seed: int,
) -> tuple[Selection, LearningCurve | None, tuple[str, ...]]:
    """The choice, its learning curve, and what was odd about the pairs."""
    distance = searched_distance(source, direction)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdapterWarning)
        selection = select_adapter(
            material.pairs,
            direction,
            kinds=kinds,
            asked=material.asked,
            excerpts=material.excerpts,
            distance=distance,
            floor=floor,
            seed=seed,
        )
        curve = None
        if selection.kind is not None:
            # Too few pairs for two points: there is no curve then.
            with suppress(AdapterInputError):
                curve = measure_learning(selection.kind, material.pairs, direction, distance=distance, seed=seed)
    odd = dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, AdapterWarning))
    return selection, curve, tuple(odd)


def _keep(
    db: Database,
    source: PairSource,
    selection: Selection,
    curve: LearningCurve | None,
    material: Material,
    notes: tuple[str, ...],
    *,
    seed: int,
    name: str | None,
) -> KeptAdapter:
    assert selection.adapter is not None
    from_model, to_model = _ends(source, selection.direction)
    provenance = Provenance(
        direction=selection.direction,
        source_model=from_model.key,
        target_model=to_model.key,
        n_pairs=selection.n_pairs,
        seed=seed,
        code_version=version("embedmig"),
        fitted_at=datetime.now(UTC),
        scores=selection.scores,
        reason=selection.reason,
        notes=notes,
        collection=source.collection.name,
    )
    with db.connect() as conn, conn.transaction():
        fingerprints = read_fingerprints({model.key: get_fingerprint(conn, model) for model in (from_model, to_model)})
        kept = adapters.add_adapter(
            conn,
            source.collection,
            name=name,
            direction=selection.direction.value,
            from_model=from_model,
            to_model=to_model,
            kind=str(selection.kind),
            normalise=selection.adapter.normalise,
            body=dump_adapter(selection.adapter, provenance, fingerprints, farness=selection.farness),
            provenance=_in_words(provenance) | _beside(material, curve),
        )
        log_event(
            conn,
            "adapter fit",
            source.collection.name,
            became=kept.name,
            direction=kept.direction,
            kind=kept.kind,
            from_model=kept.from_model,
            to_model=kept.to_model,
            pairs=selection.n_pairs,
            share=None if selection.score is None else selection.score.share,
        )
    return kept


def _ends(source: PairSource, direction: Direction) -> tuple[Model, Model]:
    """What it takes vectors of, and where it leads."""
    ends = source.new_model, source.old.model
    return ends if direction is Direction.QUERY else (ends[1], ends[0])


def _in_words(provenance: Provenance) -> dict[str, Any]:
    return asdict(provenance) | {
        "direction": provenance.direction.value,
        "fitted_at": provenance.fitted_at.isoformat(),
    }


def _beside(material: Material, curve: LearningCurve | None) -> dict[str, Any]:
    """What is kept beside the adapter's own provenance. ``last_place``: rows behind it were not fitted on."""
    plan = material.plan
    return {
        "last_place": material.last_place,
        "reused": plan.reused,
        "embedded": plan.documents.texts - material.not_embedded,
        "tokens": material.tokens,
        "learning": _points(curve),
        "more_pairs_help": None if curve is None else curve.more_pairs_help,
    }


def _points(curve: LearningCurve | None) -> tuple[tuple[int, float], ...]:
    return () if curve is None else tuple((pairs, score.share) for pairs, score in curve.points)
