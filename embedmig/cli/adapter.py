"""embedmig adapter fit|eval|list|show|use|drop"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from embedmig.catalog.adapters import KeptAdapter
    from embedmig.commands.adapter_evaluating import EvaluatedAdapter
    from embedmig.commands.adapter_fitting import FittedAdapter
    from embedmig.commands.adapter_pairs import PairsPlan
    from embedmig.rollout.adapting import Placed

    Callbacks = dict[str, Callable[..., None]]

_FILE = click.Path(path_type=Path, dir_okay=False)
_KINDS = click.Choice(["auto", "procrustes", "centred", "ridge", "ranking", "distilled", "text"])

name_argument = click.argument("name")


@click.group()
def adapter() -> None:
    """Maps between the spaces of two models, for a while in which re-embedding is not done, or cannot be."""


@adapter.command()
@collection_argument
@click.option("--to", metavar="NAME@REVISION", help="The new model.  [the open migration's]")
@click.option(
    "--direction",
    type=click.Choice(["query", "bridge"]),
    default="query",
    show_default=True,
    help="query: new queries to the old vectors; bridge: old vectors to the new space.",
)
@click.option("--kind", type=_KINDS, default="auto", show_default=True, help="auto: chosen on held-out documents.")
@click.option("--sample", default=20_000, show_default=True, type=click.IntRange(1), help="Rows to pair, at random.")
@click.option("--queries", type=_FILE, help="Choose by these, by nDCG@10 where they have judgments, as validate does.")
@click.option(
    "--floor", type=click.FloatRange(0, 1), help="Below this share none is good enough.  [0.5 for auto, else 0]"
)
@click.option("--seed", default=0, show_default=True, help="Another seed takes other rows; the same, the same.")
@click.option("--name", help="What to call it.  [a1, a2, ...]")
@click.option("--yes", is_flag=True, help="Do not ask before embedding costs money.")
@common_options
def fit(ctx: Context, collection: str, yes: bool, **options: Any) -> int:
    """Pair stored old vectors with the new model's of the same rows, and keep the map that does best on others.

    The old model may be gone. Exits 1 when no adapter is good enough.
    """
    from embedmig.commands import adapter_fit

    with _watched(ctx, yes=yes) as callbacks:
        fitted = adapter_fit(ctx.db, collection, **options, **callbacks, settings=ctx.settings)
    ctx.show(fitted, _fitted)
    return 0 if fitted.adapter is not None else 1


@adapter.command("eval")
@collection_argument
@name_argument
@click.option("--sample", default=1_000, show_default=True, type=click.IntRange(1), help="Rows to pair, at random.")
@click.option("--queries", type=_FILE, help="Measure by these, by nDCG@10 where they have judgments.")
@click.option(
    "--bound", default=0.2, show_default=True, type=click.FloatRange(0), help="So much may the residual have risen."
)
@click.option("--yes", is_flag=True, help="Do not ask before embedding costs money.")
@common_options
def eval_(ctx: Context, collection: str, name: str, yes: bool, **options: Any) -> int:
    """Does it still do what it did? Measured on rows that it was not fitted on.

    Exits 1 when it misses by more than when it was made, beyond the bound and the noise.
    """
    from embedmig.commands import adapter_eval

    with _watched(ctx, yes=yes) as callbacks:
        found = adapter_eval(ctx.db, collection, name, **options, **callbacks, settings=ctx.settings)
    ctx.show(found, _evaluated)
    return 1 if found.drifted else 0


@adapter.command("list")
@collection_argument
@click.option("--all", "dropped", is_flag=True, help="Those that were dropped, too.")
@common_options
def list_(ctx: Context, collection: str, dropped: bool) -> None:
    """The adapters that are kept, how good each is, and where it stands."""
    from embedmig.commands import adapter_list

    ctx.show(adapter_list(ctx.db, collection, dropped=dropped), lambda kept: _table(kept, collection))


@adapter.command()
@collection_argument
@name_argument
@common_options
def show(ctx: Context, collection: str, name: str) -> None:
    """An adapter in full: its models, pairs, seed, version, and every candidate's score."""
    from embedmig.commands import adapter_show

    ctx.show(adapter_show(ctx.db, collection, name), _shown)


@adapter.command()
@collection_argument
@name_argument
@click.option("--undo", is_flag=True, help="Ask the slot with its own model again.")
@common_options
def use(ctx: Context, collection: str, name: str, undo: bool) -> None:
    """Answer queries of the new model from the old slot, through a query adapter, from now on."""
    from embedmig.commands import adapter_use, adapter_use_undo

    ctx.show((adapter_use_undo if undo else adapter_use)(ctx.db, collection, name), _placed)


@adapter.command()
@collection_argument
@name_argument
@click.option("--yes", is_flag=True, help="Even if no query could be embedded for the slot any more.")
@common_options
def drop(ctx: Context, collection: str, name: str, yes: bool) -> None:
    """Forget an adapter. The slot that it stood before is asked with its own model again."""
    from embedmig.commands import adapter_drop

    placed = adapter_drop(ctx.db, collection, name, even_if_needed=yes)
    ctx.show({"dropped": name, "placed": placed}, lambda _: _dropped(name, placed))


@contextmanager
def _watched(ctx: Context, *, yes: bool) -> "Iterator[Callbacks]":
    """Says what the pairs take, asks where that costs money and a person is there, and shows how far it is."""
    if not ctx.is_terminal:
        yield {"on_plan": lambda plan: click.echo(_plan(plan), err=True)}
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), console=ctx.console) as bar:
        task = bar.add_task("embedding", total=None, visible=False)

        def on_plan(plan: "PairsPlan") -> None:
            bar.stop()
            ctx.say(_plan(plan))
            if plan.cost and ctx.can_ask and not yes:
                click.confirm("Go on?", abort=True)
            bar.update(task, total=plan.documents.texts + plan.queries.texts, visible=True)
            bar.start()

        yield {"on_plan": on_plan, "on_embedded": lambda count: bar.advance(task, count)}


def _plan(plan: "PairsPlan") -> str:
    told = [f"{plan.pairs:,} pairs of {plan.old_model} and {plan.new_model}"]
    if plan.judged:
        told.append(f"{plan.judged:,} of them for the judgments")
    if plan.reused:
        told.append(f"{plan.reused:,} stand in the new slot already")
    if plan.kept:
        told.append(f"{plan.kept:,} were embedded before and kept on disk")
    documents = plan.documents
    beside = f" and {plan.queries.texts:,} queries" if plan.queries.texts else ""
    cost = "" if plan.cost is None else f", cost about {plan.cost:.4g}"
    tokens = documents.tokens + plan.queries.tokens
    told.append(f"{documents.texts:,} texts{beside} to embed, about {tokens:,} tokens{cost}")
    return "; ".join(told)


def _fitted(result: "FittedAdapter") -> "RenderableType":
    from rich.markup import escape

    lines = [escape(result.reason)]
    lines += [f"  {escape(_score(score.__dict__))}" for score in result.scores]
    if result.learning:
        points = ", ".join(f"{pairs:,}: {share:.1%}" for pairs, share in result.learning)
        help_ = "more pairs would help (--sample)" if result.more_pairs_help else "more pairs would help little"
        lines.append(f"  with so many pairs: {points}; {help_}")
    lines += [f"  note: {escape(note)}" for note in result.notes]
    if result.not_embedded:
        lines.append(f"  {result.not_embedded:,} rows were left out: {escape(result.plan.new_model)} cannot embed them")
    if result.adapter is not None:
        kept = result.adapter
        leads_on = "adapter use" if kept.direction == "query" else "bridge"
        name = f" {kept.name}" if kept.direction == "query" else ""
        lines.append(
            f"[bold]{escape(kept.name)}[/] is kept, of {result.pairs:,} pairs:"
            f" embedmig {leads_on} {escape(result.plan.collection + name)}"
        )
    return "\n".join(lines)


def _score(score: Any) -> str:
    low, high = score["interval"]
    told = f"{score['kind']}: {score['share']:.1%} [{low:.1%} to {high:.1%}] of the new model's ranking"
    told += f", {score['top_10']:.1%} of its top 10, over {score['n_queries']:,} queries"
    return told if score.get("own_row") is None else f"{told}; excerpts find their row at {score['own_row']:.3f} (MRR)"


def _evaluated(result: "EvaluatedAdapter") -> "RenderableType":
    from rich.markup import escape

    head = f"{result.adapter.name}, {result.adapter.kind}, {result.adapter.from_model} to {result.adapter.to_model}"
    lines = [f"[bold]{escape(head)}[/] on {result.pairs:,} rows"]
    if result.seen:
        lines.append("  every row was fitted on, so there are no others: these figures flatter")
    if result.score is not None:
        lines.append(f"  {escape(_score(result.score.__dict__))}")
    if result.fresh is None or result.drift is None:
        lines.append("  there is no row to compare")
    else:
        drift = result.drift
        lines.append(
            f"  it misses by {result.fresh.mean:.4f} (1 - cosine), by {result.at_fit.mean:.4f} when it was made:"
            f" {drift.rise:+.1%} [{drift.low:+.1%} to {drift.high:+.1%}], {result.bound:+.0%} is the bound"
        )
        if drift.drifted is None:
            lines.append("  too few rows to say whether it has drifted")
        elif drift.drifted:
            again = f"embedmig adapter fit {result.adapter.provenance['collection']}"
            lines.append(f"  [red]it has drifted[/]: fit it again, {escape(again)}")
    if result.far_share is not None:
        lines.append(f"  {result.far_share:.1%} of the vectors lie far from all that it was fitted on")
    return "\n".join(lines)


def _table(kept: "list[KeptAdapter]", collection: str) -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    if not kept:
        return f"no adapter of {escape(collection)}: embedmig adapter fit {escape(collection)}"
    table = Table("name", "direction", "kind", "from", "to", "keeps", "stands", box=None, header_style="bold")
    for one in kept:
        share = "" if one.score is None else f"{one.score['share']:.1%}"
        table.add_row(
            escape(one.name), one.direction, one.kind, escape(one.from_model), escape(one.to_model), share,
            escape(_stands(one)),
        )  # fmt: skip
    return table


def _stands(kept: "KeptAdapter") -> str:
    if kept.dropped_at is not None:
        return f"dropped {kept.dropped_at:%Y-%m-%d %H:%M}"
    if kept.from_changed or kept.to_changed:
        return "unusable: a model has another fingerprint now"
    if kept.used_since is None:
        return "not used"
    where = f"before {kept.slot}" if kept.direction == "query" else f"in {kept.slot}"
    return f"{where} since {kept.used_since:%Y-%m-%d %H:%M}"


def _shown(kept: "KeptAdapter") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    made = kept.provenance
    facts = Table.grid(padding=(0, 2))
    pairs = f"{made['n_pairs']:,}, seed {made['seed']}, {made['reused']:,} of the new vectors stood in their slot"
    for label, value in (
        ("adapter", f"{kept.name}, {kept.direction}, {kept.kind}"),
        ("maps", f"{kept.from_model} to {kept.to_model}"),
        ("stands", _stands(kept)),
        ("pairs", pairs),
        ("made", f"{made['fitted_at'][:16].replace('T', ' ')} by embedmig {made['code_version']}"),
        ("why", made["reason"]),
        *(("candidate", _score(score)) for score in made["scores"]),
        ("learning", ", ".join(f"{n:,}: {share:.1%}" for n, share in made["learning"]) or "too few pairs to tell"),
        *(("note", note) for note in made["notes"]),
        ("health", _health(kept)),
        ("size", "gone" if kept.size_bytes is None else f"{kept.size_bytes / 1e6:.1f} MB"),
    ):
        facts.add_row(f"[bold]{label}[/]", escape(value))
    return facts


def _health(kept: "KeptAdapter") -> str:
    if kept.health is None:
        return "not looked at since it was made: embedmig adapter eval"
    drift = kept.health["drift"]
    at = kept.health["at"][:16].replace("T", " ")
    if drift is None or drift["drifted"] is None:
        return f"{at}: too few rows to say"
    return f"{at}: {'drifted, ' if drift['drifted'] else ''}it misses by {drift['rise']:+.1%} of what it did"


def _placed(result: "Placed") -> "RenderableType":
    from rich.markup import escape

    said = "" if result.changed else " already"
    through = "" if result.adapter is None else f" through {result.adapter}"
    kept = "" if result.share is None else f", {result.share:.1%} of the new model's ranking held out"
    lines = [
        f"[bold]{escape(result.collection)}[/]: slot {result.slot} ({escape(result.slot_model)}) is asked with"
        f" {escape(result.asked_model)}{escape(through)}{said}, epoch {result.epoch}{kept}"
    ]
    if result.changed and result.was != result.asked_model:
        lines.append(f"  callers who embed by themselves embed with {escape(result.asked_model)} from now on")
    if result.gone:
        lines.append(f"  [red]{escape(result.asked_model)} is gone[/]: no text can be embedded for it")
    return "\n".join(lines)


def _dropped(name: str, placed: "Placed | None") -> "RenderableType":
    from rich.markup import escape

    return f"{escape(name)} is dropped" if placed is None else f"{escape(name)} is dropped. {_placed(placed)}"
