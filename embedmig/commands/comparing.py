"""compare: which model would serve better, and stored how, before anything of the table changes?"""

from collections.abc import Callable, Sequence
from pathlib import Path

from embedmig.catalog.models import get_model
from embedmig.catalog.serving import read_serving
from embedmig.commands.asking import Queries, QuerySource, gather_from
from embedmig.db import Database
from embedmig.errors import UsageError
from embedmig.settings import Settings, load_settings
from embedmig.types import Model, ModelState
from embedmig.validation.candidate_vectors import CandidateVectors, Needed, embed_candidate, foresee
from embedmig.validation.candidates import CandidatesReport, weigh_candidates
from embedmig.validation.comparing import Run, StepProgress
from embedmig.validation.exact import tie_order
from embedmig.validation.page import render_candidates
from embedmig.validation.trial_rows import present_pair, take_rows

SAMPLE = 2_000


def compare(
    db: Database,
    collection: str,
    models: Sequence[str],
    *,
    queries: Queries | None = None,
    queries_sql: str | None = None,
    queries_from_rows: int | None = None,
    queries_from_shadow: bool = False,
    qrels: Path | str | None = None,
    sample: int = SAMPLE,
    shortened_to: Sequence[int] = (),
    seed: int = 0,
    settings: Settings | None = None,
    on_progress: StepProgress | None = None,
    on_plan: Callable[[Sequence[Needed]], None] = lambda needed: None,
) -> CandidatesReport:
    """Tries ``models`` (name@revision, registered) and the present one on ``sample`` rows, more where judgments name
    more; the table is only read. Queries come from where ``validate`` takes them. Vectors are kept in the cache folder.

    ``shortened_to``: dimensions to cut vectors to, by default a half and a quarter of each model's. ``on_plan`` is
    told, before a model is asked, how much each is still to be asked for.

    Raises NotFoundError for a model that is not registered, UsageError for queries that cannot be read or no model to
    compare, RefusedError when a candidate is gone or there is no row to try on, ProviderError when a model fails.
    """
    settings = settings or load_settings()
    source = QuerySource(
        queries=queries,
        queries_sql=queries_sql,
        queries_from_rows=queries_from_rows,
        queries_from_shadow=queries_from_shadow,
        qrels=qrels,
    )
    _require_sizes(sample, shortened_to)
    run = Run(on_progress)
    with db.connect() as conn:
        serving = read_serving(conn, collection)
        slot = serving.source
        pair = present_pair(serving.collection, slot)
        others = _candidates([get_model(conn, key) for key in dict.fromkeys(models)], slot.model)
        query_set = gather_from(conn, pair, source, seed=seed)
        if query_set is None:
            raise UsageError("there is nothing to ask: give queries, --queries queries.jsonl (or one of the others)")
        with run.step("read rows"):
            rows = take_rows(conn, pair, query_set.queries, sample, seed=seed)
        asked, folder = [query.text for query in rows.queries], settings.cache_dir
        present = [] if slot.model.state is ModelState.GONE else [foresee(conn, slot.model, (), asked, folder)]
        on_plan([*present, *(foresee(conn, model, rows.texts, asked, folder) for model in others)])
        tried: list[CandidateVectors] = []
        for model in (slot.model, *others):
            stored = rows.vectors if model.key == slot.model.key else None
            total = len(asked) + (0 if stored is not None else len(rows.texts))
            with run.step(f"embed by {model.key}", total):
                tried.append(
                    embed_candidate(db, model, rows.texts, asked, folder, stored=stored, on_progress=run.advance)
                )
    with run.step("search"):
        return weigh_candidates(
            slot,
            rows,
            query_set,
            tried,
            collection=collection,
            order=tie_order(serving.collection, lambda key: key),
            shortened_to=shortened_to,
            confidence=settings.confidence,
            margin=settings.quality_margin,
            seconds=run.seconds,
        )


def candidates_page(report: CandidatesReport, path: Path) -> Path:
    """Writes the report as one HTML page and gives its path. Raises UsageError when jinja2 is not installed or the file
    cannot be written."""
    page = render_candidates(report)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"the page cannot be written to {path}: {exc.strerror or exc}") from exc
    return path


def _candidates(models: Sequence[Model], present: Model) -> list[Model]:
    others = [model for model in models if model.key != present.key]
    if not models:
        raise UsageError(f"name a model to compare with {present.key}, --model name@revision")
    return others


def _require_sizes(sample: int, shortened_to: Sequence[int]) -> None:
    if sample < 1:
        raise UsageError(f"a sample has 1 row or more, not {sample}")
    if any(cut < 1 for cut in shortened_to):
        raise UsageError(f"vectors are cut to 1 dimension or more, not {min(shortened_to)}")
