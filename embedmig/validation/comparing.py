"""Runs a validation from queries to report; writes nothing."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from embedmig.backfill.completeness import tail_allowed
from embedmig.catalog.serving import Serving
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.settings import Settings
from embedmig.types import ModelState
from embedmig.validation.analysis import plan_detectable
from embedmig.validation.answers import Answers, Search, answer_queries, answer_rows, require_column
from embedmig.validation.approximate import IndexCheck, check_index
from embedmig.validation.assembling import Material, assemble_report, refuse_two_scales
from embedmig.validation.intervals import Estimate, estimate_mean
from embedmig.validation.kept_vectors import Embedded
from embedmig.validation.looking import Watch, join_answers
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair, PairCounts, count_ignored, count_pair
from embedmig.validation.pipelines import Pipeline, ask_pipeline, load_pipeline
from embedmig.validation.quality import score_rankings
from embedmig.validation.queries import Query, QuerySet, gather_queries
from embedmig.validation.query_vectors import embed_queries
from embedmig.validation.report import ValidationReport
from embedmig.validation.weighing import measure_pipeline

_RECALL_DEPTH = 100
_ROWS_WHEN_GONE = 200
_ROWS_NOTE = "stored rows serve as queries: neighbours of rows are compared, not answers to what people ask"

StepProgress = Callable[[str, int, int | None], None]
"""Called with the step, how much of it is done, and how much there is (None: not known)."""


OnPlan = Callable[[Mapping[str, float], int], None]
"""Called before the run with the smallest true differences that so many queries are likely to show."""


class Run:
    """The clock and the progress of one validation."""

    def __init__(self, on_progress: StepProgress | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_progress, self._step, self._done = on_progress, "", 0
        self._total: int | None = None

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[None]:
        """Times what is inside."""
        self._step, self._done, self._total = name, 0, total
        self.advance(0)
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def expect(self, total: int) -> None:
        """So much there is in the present step."""
        self._total = total
        self.advance(0)

    def advance(self, count: int) -> None:
        """So much more of the present step is done."""
        self._done += count
        if self._on_progress is not None:
            self._on_progress(self._step, self._done, self._total)


def compare_slots(
    db: Database,
    conn: Connection,
    serving: Serving,
    pair: Pair,
    query_set: QuerySet | None,
    options: Options,
    settings: Settings,
    *,
    on_progress: StepProgress | None = None,
    on_plan: OnPlan = lambda detectable, queries: None,
) -> ValidationReport:
    """Both slots of ``pair`` over the same rows. ``conn`` is autocommit and in no transaction; ``db``, the same
    database, is where models' fingerprints and limits are read beside it.

    With a model gone, stored rows serve as queries, and ``query_set``, where it has judgments, only tells how good the
    other slot is. ``on_plan`` is called before the first query is asked. Raises UsageError when there is nothing to
    ask, RefusedError when no row can be judged, or when a cut-off is to be translated while a slot holds vectors of two
    scales; and what embedding and reading raise.
    """
    run = Run(on_progress)
    if options.by_document is not None:
        require_column(conn, pair, options.by_document)
    search = Search(
        pair=pair,
        depth=max(*options.ks, _RECALL_DEPTH),
        by_document=options.by_document,
        memory_mb=settings.validation_memory_mb,
        on_total=run.expect,
        on_progress=run.advance,
    )
    pipeline = _pipeline(options)
    if (count := _rows_as_queries(pair, options)) is not None:
        _refuse_for_rows(options)
        on_plan({"overlap@10": plan_detectable([1.0] * count, 0, confidence=settings.confidence)["overlap@10"]}, count)
        material = _by_rows(db, conn, search, query_set, count, options, settings, run)
    else:
        if query_set is not None:
            weights = [query.weight for query in query_set.queries]
            on_plan(plan_detectable(weights, query_set.judged, confidence=settings.confidence), len(weights))
        material = _by_queries(db, conn, serving, search, query_set, pipeline, options, settings, run)
    refuse_two_scales(pair, material.answers, options)
    return assemble_report(material, options, settings)


def _by_queries(
    db: Database,
    conn: Connection,
    serving: Serving,
    search: Search,
    query_set: QuerySet | None,
    pipeline: Pipeline | None,
    options: Options,
    settings: Settings,
    run: Run,
) -> Material:
    if query_set is None:
        raise UsageError(
            "there is nothing to ask: give queries, --queries queries.jsonl (or --queries-sql, --queries-from-shadow,"
            " --queries-from-rows, --rows-as-queries)"
        )
    if pipeline is not None:
        _refuse_on_part(conn, search.pair, settings)
    watch = Watch(query_set.queries, options, settings)
    answers, blocks = None, []
    for block in watch.blocks():
        blocks.append(_embed(db, search.pair, block, settings, run))
        asked_by = blocks[-1][0].vectors, blocks[-1][1].vectors
        with run.step("exact"):
            answers = join_answers(answers, answer_queries(conn, search, block, asked_by))
        watch.look(answers)
    assert answers is not None
    vectors = [np.concatenate([one.vectors for one in side]) for side in zip(*blocks, strict=True)]
    part = _part(conn, search.pair, answers.counts, settings)
    own = None
    if pipeline is not None:
        queries = answers.judged.queries
        with run.step(pipeline.name, 2 * len(queries)):
            asked = ask_pipeline(conn, search, pipeline, queries, vectors)
        rows = answers.counts.judged
        own = measure_pipeline(pipeline.name, asked, answers.judged, rows, options, settings, watch.inference)
    indexes: tuple[IndexCheck | None, ...] = (None, None)
    # On a part the index would be compared with rows that it holds beside those that were judged.
    if options.check_indexes and part == 1:
        with run.step("indexes"):
            indexes = tuple(
                check_index(conn, serving, slot, some, exact, confidence=settings.confidence)
                for slot, some, exact in zip(search.pair.slots, vectors, answers.row_rankings, strict=True)
            )
    return Material(
        pair=search.pair,
        query_set=replace(query_set, queries=answers.judged.queries) if options.until_decided else query_set,
        answers=answers,
        part=part,
        indexes=(indexes[0], indexes[1]),
        embed_ms=(blocks[-1][0].ms_a_text, blocks[-1][1].ms_a_text),
        target_quality_alone={},
        seconds=run.seconds,
        inference=watch.inference,
        deciding=watch.deciding,
        sequential=watch.sequential,
        pipeline=own,
    )


def _pipeline(options: Options) -> Pipeline | None:
    if options.pipeline is not None and options.pipeline_sql is not None:
        raise UsageError("your own search is one of two: a function, or SQL")
    if options.pipeline is not None:
        return load_pipeline(options.pipeline)
    if options.pipeline_sql is not None:
        return Pipeline(name="your SQL", template=options.pipeline_sql)
    return None


def _refuse_for_rows(options: Options) -> None:
    if options.until_decided:
        raise UsageError("stored rows that serve as queries are all asked at once: leave out --until-decided")
    if options.pipeline is not None or options.pipeline_sql is not None:
        raise UsageError("stored rows that serve as queries have no words for your own search: leave out --pipeline")


def _refuse_on_part(conn: Connection, pair: Pair, settings: Settings) -> None:
    """Before a model is asked: the user's own search would find all rows through one slot, few through the other."""
    if (part := _part(conn, pair, count_pair(conn, pair), settings)) < 1:
        raise RefusedError(
            f"{pair.target.name} holds {part:.0%} of the rows: your own search through it would be compared with one"
            f" over all of them. Finish embedmig reembed {pair.collection.name} first, or leave out --pipeline"
        )


def _embed(
    db: Database, pair: Pair, queries: Sequence[Query], settings: Settings, run: Run
) -> tuple[Embedded, Embedded]:
    texts = [query.text for query in queries]
    embedded = []
    for slot in pair.slots:
        with run.step(f"embed by {slot.model.key}", len(texts)):
            embedded.append(embed_queries(db, slot.model, texts, run.advance, cache_dir=settings.cache_dir))
    return embedded[0], embedded[1]


def _by_rows(
    db: Database,
    conn: Connection,
    search: Search,
    query_set: QuerySet | None,
    count: int,
    options: Options,
    settings: Settings,
    run: Run,
) -> Material:
    with run.step("exact"):
        answers = answer_rows(conn, search, count, seed=options.seed)
    asked = gather_queries(answers.judged.queries, f"{count:,} stored rows at most", [_ROWS_NOTE])
    return Material(
        pair=search.pair,
        query_set=asked,
        answers=answers,
        part=_part(conn, search.pair, answers.counts, settings),
        indexes=(None, None),
        embed_ms=(None, None),
        target_quality_alone=_target_alone(db, conn, search, query_set, settings, run),
        seconds=run.seconds,
    )


def _target_alone(
    db: Database, conn: Connection, search: Search, query_set: QuerySet | None, settings: Settings, run: Run
) -> Mapping[str, Estimate]:
    """How well the new slot answers the judged queries, where the old one's model cannot be asked any more."""
    source, model = search.pair.source.model, search.pair.target.model
    can_be_asked = source.state is ModelState.GONE and model.state is not ModelState.GONE
    if query_set is None or not query_set.judged or not can_be_asked:
        return {}
    judged = [query for query in query_set.queries if query.relevant]
    with run.step(f"embed by {model.key}", len(judged)):
        texts = [query.text for query in judged]
        vectors = embed_queries(db, model, texts, run.advance, cache_dir=settings.cache_dir).vectors
    with run.step("exact"):
        answers = answer_queries(conn, search, judged, (None, vectors))
    return score_alone(answers, confidence=settings.confidence)


def score_alone(answers: Answers, *, confidence: float) -> dict[str, Estimate]:
    """Each measure of the target's rankings, over the queries that have a relevant item."""
    judged = answers.judged
    rankings = [["\x1f".join(key) for key in ranking.keys] for ranking in judged.target]
    scores = score_rankings(rankings, judged.judgments)
    return {
        measure: estimate_mean(values[there], judged.weights[there], confidence=confidence)
        for measure, values in scores.items()
        if (there := ~np.isnan(values)).any()
    }


def _rows_as_queries(pair: Pair, options: Options) -> int | None:
    gone = any(slot.model.state is ModelState.GONE for slot in pair.slots)
    return options.rows_as_queries or (_ROWS_WHEN_GONE if gone else None)


def _part(conn: Connection, pair: Pair, counts: PairCounts, settings: Settings) -> float:
    """The share of the rows served today that were judged; a tail that completeness allows is no part."""
    served = counts.judged + counts.only_source
    lacking = counts.only_source - count_ignored(conn, pair.target)
    return 1.0 if lacking <= tail_allowed(served, settings) else counts.judged / served
