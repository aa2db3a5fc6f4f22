"""The story of one migration, told through the functions that the command line runs."""

import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from embedmig import commands
from embedmig.demo import application
from embedmig.demo.application import NEW, OLD, Application, application_writes
from embedmig.demo.models import minilm_path
from embedmig.demo.telling import Diary, Step, tell
from embedmig.errors import RefusedError
from embedmig.search.searcher import Searcher
from embedmig.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmig.backfill.progress import ReembedProgress

QUESTION = "pick a few items of a list at random, none twice"


@dataclass(frozen=True, kw_only=True)
class DemoFigures:
    """What the closing table says. Seconds by step, in order."""

    documents: int
    queries: int
    overlap_at_10: float
    ndcg_at_10_old: float
    ndcg_at_10_new: float
    rows_per_s: float
    seconds: dict[str, float]


def run_demo(console: Console, data_dir: Path, *, fresh: bool, wait: Callable[[], None], watched: bool) -> DemoFigures:
    """Tells the story from where it stopped last time. ``watched``: draw progress bars."""
    # The two models lie on disk; nothing may look for them on a hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if fresh:
        application.forget_application(data_dir)
    console.print(
        "[bold]embedmig demo[/bold]: 5,000 docstrings of the standard library move from a static 256-d model to"
        " all-MiniLM-L6-v2 (384-d), on an embedded PostgreSQL, while an application goes on writing.\n"
        "Gates of time are set to 0 here (the stability period before contract is 7 days by default)."
    )
    app = application.open_application(data_dir)
    # Where the application's own Alembic environment finds its database.
    os.environ["DATABASE_URL"] = app.db.url
    diary = Diary.open(app.folder / "diary.json")
    story = _Story(app, console, watched)
    tell(console, story.steps(), diary, wait=wait)
    figures = DemoFigures(seconds=diary.seconds, **diary.figures)
    console.print(_closing_table(figures))
    console.print("Again from the start: embedmig demo --fresh. Your own table: the README, or embedmig init.")
    return figures


class _Story:
    """The steps over one application; what they share is the application and where to draw."""

    def __init__(self, app: Application, console: Console, watched: bool) -> None:
        self._app, self._console, self._watched = app, console, watched
        no_waiting = {"stability_days": 0.0, "hold_hours": 0.0, "quiet_hours": 0.0}
        self._settings: Settings = load_settings(app.folder, overrides={**no_waiting, "alembic_ini": app.alembic_ini})

    def steps(self) -> list[Step]:
        return [
            Step(
                name="application",
                title="An application with a table of documents",
                meaning="This is what you have: a table, a vector column filled by the model you began with, an HNSW"
                " index on it, and an Alembic environment of your own.",
                command=None,
                run=self._application,
            ),
            Step(
                name="register",
                title="Register",
                meaning="embedmig learns of both models (it loads each, measures it and keeps a fingerprint) and of the"
                " table. Nothing changes on the table.",
                command="embedmig init   # or: model add, collection add",
                run=self._register,
            ),
            Step(
                name="audit",
                title="Audit",
                meaning="Were the stored vectors really made by the model they are said to be from? A sample is"
                " embedded again and compared.",
                command="embedmig audit docs",
                run=self._audit,
            ),
            Step(
                name="plan",
                title="Plan",
                meaning="Rows, tokens, time, disk, where the new vectors go and who would notice, before anything"
                " changes.",
                command=f"embedmig plan docs --to {NEW}",
                run=self._plan,
            ),
            Step(
                name="expand",
                title="Expand",
                meaning="A second, versioned slot beside the first, by a revision in the application's own Alembic"
                " environment. Reads go on undisturbed; no row is rewritten.",
                command=f"embedmig expand docs --to {NEW} --run",
                run=self._expand,
            ),
            Step(
                name="backfill",
                title="Backfill, while the application writes",
                meaning="Every document is embedded by the new model. Another process inserts, edits and deletes rows"
                " all the while; triggers queue what it touches. Ctrl-C here and run the demo again: it goes on.",
                command="embedmig reembed docs",
                run=self._backfill,
            ),
            Step(
                name="index",
                title="Index",
                meaning="An HNSW index on the new slot, built CONCURRENTLY: nobody waits for it.",
                command="embedmig index docs",
                run=self._index,
            ),
            Step(
                name="verify",
                title="Verify",
                meaning="The whole table read in SQL, with no model call: has every row a vector of its present text,"
                " by the slot's model?",
                command="embedmig verify docs",
                run=self._verify,
            ),
            Step(
                name="validate",
                title="Validate",
                meaning="May the new index serve? Labelled questions are asked of both slots. The two models are far"
                " apart, so few of the top 10 stay: overlap alone would say 'investigate'. The judgments tell whether"
                " the new results are better or just different.",
                command="embedmig validate docs --queries queries.jsonl",
                run=self._validate,
            ),
            Step(
                name="handover",
                title="Handover",
                meaning="From now on embedmig keeps the old slot up to date too: what the application writes is"
                " embedded for both, so the way back loses nothing.",
                command="embedmig handover docs",
                run=self._handover,
            ),
            Step(
                name="switch",
                title="Switch",
                meaning="One commit. Every search proves the route it was planned for, so none that begins afterwards"
                " is answered by the old index.",
                command="embedmig rollout docs 100",
                run=self._switch,
            ),
            Step(
                name="rollback",
                title="Roll back",
                meaning="The way back is one commit too, and it says what the old slot lacks.",
                command="embedmig rollback docs",
                run=self._roll_back,
            ),
            Step(
                name="switch again",
                title="Switch again",
                meaning="A rollback by hand leaves the report standing.",
                command="embedmig rollout docs 100",
                run=self._switch,
            ),
            Step(
                name="contract",
                title="Contract (a dry run)",
                meaning="After the stability period the old index and column go. Here is what that would run; the demo"
                " stops before it, so that you can look around.",
                command="embedmig contract docs --dry-run",
                run=self._contract,
            ),
        ]

    def _application(self, diary: Diary) -> Sequence[str]:
        application.create_table(self._app)
        documents = application.load_documents(self._app)
        diary.figures["documents"] = documents
        return [f"{documents:,} documents, embedded by {OLD} (static, 256-d), HNSW index documents_embedding"]

    def _register(self, diary: Diary) -> Sequence[str]:
        db = self._app.db
        commands.init(db)
        paths = {OLD: self._app.static_model, NEW: minilm_path()}
        lines = []
        for key, path in paths.items():
            added = commands.model_add(db, key, provider="sentence-transformers", options={"path": str(path)})
            lines.append(f"model {key}: {added.model.dimensions} dimensions, id {added.id}")
        commands.collection_add(
            db, "docs", table="public.documents", text=["name", "body"], embedding="embedding", model=OLD
        )
        return [*lines, "collection docs: public.documents, text from name and body, slot v1"]

    def _audit(self, diary: Diary) -> Sequence[str]:
        audit = commands.audit(self._app.db, "docs", settings=self._settings)
        return [f"{audit.matching} of {audit.compared} sampled vectors are {OLD}'s"]

    def _plan(self, diary: Diary) -> Sequence[str]:
        plan = commands.plan(self._app.db, "docs", to=NEW)
        of = plan.embedding
        took = "" if plan.seconds is None else f", about {plan.seconds:,.0f} s to embed them"
        return [
            f"{plan.rows:,} rows, about {of.tokens:,} tokens{took}",
            f"placement {plan.placement}: {plan.why}",
            *(f"who will notice: {onlooker.name}, {onlooker.what}" for onlooker in plan.onlookers),
            f"expand would run {len(plan.sql)} statements in one transaction",
        ]

    def _expand(self, diary: Diary) -> Sequence[str]:
        made = commands.expand(self._app.db, "docs", NEW, run=True, settings=self._settings)
        where = (
            [] if made.revision is None else [f"revision {made.revision.relative_to(self._app.folder.parent.parent)}"]
        )
        table = next((statement for statement in made.sql if statement.startswith("ALTER TABLE")), "")
        return [*where, *_lines([table]), f"slot {made.target}: {made.placement}, since {made.why_placed}"]

    def _backfill(self, diary: Diary) -> Sequence[str]:
        with application_writes(self._app) as writer, self._bar("documents") as advance:
            done = commands.reembed(self._app.db, "docs", on_progress=advance, settings=self._settings)
        # What the application wrote in the last moment is queued: one more round takes it.
        rest = commands.reembed(self._app.db, "docs", settings=self._settings)
        if "interrupted" in (done.outcome, rest.outcome):
            raise KeyboardInterrupt
        diary.figures["rows_per_s"] = done.rows_per_s
        return [
            f"{done.rows:,} vectors at {done.rows_per_s:,.0f} rows/s; meanwhile the application made"
            f" {writer.statements} statements, and {rest.rows} rows more were embedded for the last of them"
        ]

    def _index(self, diary: Diary) -> Sequence[str]:
        built = commands.index(self._app.db, "docs", settings=self._settings).index
        return [f"index {', '.join(built.names)}, {built.size_bytes / 2**20:.1f} MB"]

    def _verify(self, diary: Diary) -> Sequence[str]:
        verified = commands.verify(self._app.db, "docs")
        lines = []
        for slot in verified.slots:
            of = slot.census
            lines.append(
                f"{slot.slot} ({slot.model}): {of.true:,} true, {of.missing} missing, {of.stale} stale,"
                f" {of.unrecorded:,} of a text not recorded"
            )
        if not verified.ok:
            raise RefusedError("the demo's table is not right: embedmig verify docs says what is wrong")
        return lines

    def _validate(self, diary: Diary) -> Sequence[str]:
        application.write_queries(self._app)
        report = commands.validate(self._app.db, "docs", queries=self._app.queries, settings=self._settings)
        judged = next(one for one in report.quality if one.measure == "nDCG@10")
        diary.figures |= {
            "queries": report.queries.judged,
            "overlap_at_10": report.agreement.overlap[10].mean,
            "ndcg_at_10_old": judged.source.mean,
            "ndcg_at_10_new": judged.target.mean,
        }
        return [report.verdict.sentence, *report.verdict.reasons]

    def _handover(self, diary: Diary) -> Sequence[str]:
        handed = commands.handover(self._app.db, "docs", settings=self._settings)
        # Rows that the application wrote without a vector lack one in the old slot: they are queued, and embedded now.
        done = commands.reembed(self._app.db, "docs", settings=self._settings)
        return [
            f"slot {handed.slot} is maintained by {handed.maintained_by} now; {handed.queued_rows} rows had no vector"
            f" in it and were queued; embedmig reembed docs wrote {done.rows}"
        ]

    def _switch(self, diary: Diary) -> Sequence[str]:
        switched = commands.rollout(self._app.db, "docs", 100, settings=self._settings)
        return [f"{switched.percent:g} % to the new index, epoch {switched.epoch}", *self._ask()]

    def _roll_back(self, diary: Diary) -> Sequence[str]:
        back = commands.rollback(self._app.db, "docs", why="the demo shows the way back")
        lacking = back.missing_rows + back.stale_rows
        return [f"0 % to the new index, epoch {back.switched.epoch}; {back.source} lacks {lacking} rows", *self._ask()]

    def _contract(self, diary: Diary) -> Sequence[str]:
        would = commands.contract(self._app.db, "docs", dry_run=True, settings=self._settings)
        return [*would.refusals, *_lines(would.retire_sql), *_lines(would.drop_sql)]

    @contextmanager
    def _bar(self, what: str) -> "Iterator[Callable[[ReembedProgress], None]]":
        if not self._watched:
            yield lambda step: None
            return
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=None, said="")

            def advance(step: "ReembedProgress") -> None:
                progress.update(
                    task, description=step.phase, total=step.rows_planned or None, completed=step.rows_done,
                    said=f"{step.rows_per_s:,.0f} rows/s",
                )  # fmt: skip

            yield advance

    def _ask(self) -> list[str]:
        with Searcher.connect("docs", database_url=self._app.db.url, settings=self._settings) as search:
            hits = search(QUESTION, k=3, columns=["name"])
        lines = [f'embedmig search docs "{QUESTION}"']
        return lines + [f"  {hit.columns['name']:32} {hit.distance:.3f}  {hit.slot}, {hit.model}" for hit in hits]


def _lines(statements: Sequence[str]) -> list[str]:
    return [line for statement in statements for line in statement.strip().splitlines()]


def _closing_table(figures: DemoFigures) -> Table:
    table = Table(title="This migration in figures", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("documents", f"{figures.documents:,}")
    table.add_row("labelled queries", f"{figures.queries}")
    table.add_row("overlap@10 of old and new", f"{figures.overlap_at_10:.3f}")
    table.add_row(f"nDCG@10 old ({OLD})", f"{figures.ndcg_at_10_old:.3f}")
    table.add_row(f"nDCG@10 new ({NEW})", f"{figures.ndcg_at_10_new:.3f}")
    table.add_row("backfill, rows/s", f"{figures.rows_per_s:,.0f}", end_section=True)
    for name, seconds in figures.seconds.items():
        table.add_row(name, f"{seconds:.1f} s")
    table.add_row("all steps", f"{sum(figures.seconds.values()):.1f} s", style="bold")
    return table
