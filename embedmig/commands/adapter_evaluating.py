"""adapter eval: how well an adapter does on rows that it was not fitted on, and whether it still does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from embedmig.adapters import (
    CandidateScore,
    Direction,
    Pairs,
    ResidualDrift,
    ResidualStatistics,
    StoredAdapter,
    apply_adapter,
    compare_residuals,
    evaluate_adapter,
    measure_residuals,
)
from embedmig.adapters.checks import FEWEST_PAIRS
from embedmig.adapters.keeping import open_adapter, require_unchanged
from embedmig.backfill.pair_embedding import OnEmbedded
from embedmig.catalog import adapters
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import log_event
from embedmig.commands.adapter_fitting import read_asked
from embedmig.commands.adapter_pairs import Material, OnPlan, find_source, gather_material, searched_distance
from embedmig.db import Database
from embedmig.errors import AdapterUnusableError
from embedmig.settings import Settings, load_settings
from embedmig.types import Floats

RESIDUAL_BOUND = 0.2
"""So much larger, relative, may the mean residual on fresh pairs be than at the fit."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedAdapter:
    """An adapter on pairs that it was not fitted on."""

    adapter: KeptAdapter
    pairs: int
    """Compared with those of the fit: what the judgments named stands beside them, for the score alone."""
    seen: bool
    """Whether these rows were among those it was fitted on: then there were no others, and the figures flatter."""
    score: CandidateScore | None
    """None: fewer than 250 pairs, those that the judgments named among them."""
    at_fit: ResidualStatistics
    fresh: ResidualStatistics | None
    """None: no row to compare."""
    drift: ResidualDrift | None
    bound: float
    far_share: float | None
    """Of the fresh vectors that lie far from all that was fitted on, 0 to 1; about 0.01 of those it was made for."""
    not_embedded: int
    tokens: int | None

    @property
    def drifted(self) -> bool:
        """Whether the residual is surely beyond the bound."""
        return self.drift is not None and self.drift.drifted is True


def adapter_eval(
    db: Database,
    collection: str,
    name: str,
    *,
    sample: int = 1_000,
    queries: Path | None = None,
    bound: float = RESIDUAL_BOUND,
    settings: Settings | None = None,
    on_plan: OnPlan | None = None,
    on_embedded: OnEmbedded | None = None,
) -> EvaluatedAdapter:
    """Measures an adapter on rows that it was not fitted on, and compares how far it misses with how far it missed when
    it was made; keeps the comparison, for ``status`` to show.

    ``queries``: a file as ``adapter fit`` takes it. ``bound``: how much larger, relative, the mean residual may be.
    Raises AdapterUnusableError when either model has another fingerprint now, RefusedError when the new model is gone,
    ProviderError.
    """
    asked = read_asked(queries)
    with db.connect() as conn:
        found = get_collection(conn, collection)
        kept = adapters.get_adapter(conn, found, name)
        require_unchanged(kept)
        opened = open_adapter(adapters.read_body(conn, kept))
        direction = opened.provenance.direction
        old, new = _ends(kept, direction)
        source = find_source(conn, found, new_model=new, old_model=old)
    after = kept.provenance["last_place"]
    material = gather_material(
        db,
        source,
        direction,
        sample=sample,
        seed=opened.provenance.seed,
        cache_dir=(settings or load_settings()).cache_dir,
        asked=asked,
        after=after,
        on_plan=on_plan,
        on_embedded=on_embedded,
    )
    at_fit = _residuals_at_fit(opened, name)
    fresh, far = _compare(opened, _sampled(material))
    drift = None if fresh is None else compare_residuals(at_fit, fresh, bound=bound)
    score = None
    if len(material.pairs) >= FEWEST_PAIRS:
        distance = searched_distance(source, direction)
        score = evaluate_adapter(
            opened.adapter, kept.kind, material.pairs, direction, asked=material.asked, distance=distance
        )
    kept = _note(db, kept, material, drift, score, bound)
    return EvaluatedAdapter(
        adapter=kept,
        pairs=material.sampled,
        seen=after is None,
        score=score,
        at_fit=at_fit,
        fresh=fresh,
        drift=drift,
        bound=bound,
        far_share=far,
        not_embedded=material.not_embedded,
        tokens=material.tokens,
    )


def _ends(kept: KeptAdapter, direction: Direction) -> tuple[str, str]:
    """The old model and the new one."""
    ends = kept.to_model, kept.from_model
    return ends if direction is Direction.QUERY else (ends[1], ends[0])


def _residuals_at_fit(opened: StoredAdapter, name: str) -> ResidualStatistics:
    if opened.score is None:
        raise AdapterUnusableError(f"adapter {name} was kept without its scores: fit it again, embedmig adapter fit")
    return opened.score.residuals


def _sampled(material: Material) -> Pairs:
    """Without the rows that judgments named: a fit that was given the same judgments was fitted on them."""
    return material.pairs.at(np.arange(material.sampled))


def _compare(opened: StoredAdapter, pairs: Pairs) -> tuple[ResidualStatistics | None, float | None]:
    """The residuals of the pairs, and the share of what is mapped that lies far from what was fitted on."""
    if not len(pairs):
        return None, None
    is_query = opened.provenance.direction is Direction.QUERY
    given, true = (pairs.new, pairs.old) if is_query else (pairs.old, pairs.new)
    far = None
    if opened.farness is not None:
        far = float(opened.farness.are_far(_as_fitted(given, normalise=opened.adapter.normalise)).mean())
    return measure_residuals(apply_adapter(opened.adapter, given, pairs.texts), true), far


def _as_fitted(rows: Floats, *, normalise: bool) -> Floats:
    if not normalise:
        return rows
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _note(
    db: Database,
    kept: KeptAdapter,
    material: Material,
    drift: ResidualDrift | None,
    score: CandidateScore | None,
    bound: float,
) -> KeptAdapter:
    health: Mapping[str, Any] = {
        "at": datetime.now(UTC).isoformat(),
        "pairs": material.sampled,
        "bound": bound,
        "drift": None if drift is None else asdict(drift),
        "share": None if score is None else score.share,
    }
    became = "unknown" if drift is None or drift.drifted is None else "drifted" if drift.drifted else "as at the fit"
    name = material.plan.collection
    with db.connect() as conn, conn.transaction():
        adapters.note_health(conn, kept, health)
        log_event(conn, "adapter eval", name, became=became, adapter=kept.name, pairs=material.sampled)
        return adapters.get_adapter(conn, get_collection(conn, name), kept.name)
