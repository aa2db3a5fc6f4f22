"""embedmig model add|list|show|set"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from embedmig.cli.context import Context, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.catalog.rates import RateLimits
    from embedmig.commands.models import ModelAdded, ModelSet, ModelShown

_STATES = click.Choice(["available", "ending", "gone"])
_DAY = click.DateTime(["%Y-%m-%d"])

model_argument = click.argument("model", metavar="NAME@REVISION")


@click.group()
def model() -> None:
    """Embedding model versions, each name@revision."""


@model.command("add")
@model_argument
@click.option("--provider", required=True, help="openai, sentence-transformers, hashing, or one of a package.")
@click.option("--path", help="A folder that holds the model; the same as --option path=...")
@click.option("--package", help="An installed package that carries it; the same as --option package=...")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="What the provider needs to find it.")
@click.option("--dimensions", type=click.IntRange(1), help="Checked; needed only with --state gone.")
@click.option("--distance", type=click.Choice(["cosine", "l2", "ip"]), default="cosine", show_default=True)
@click.option("--document-prompt", default="", help="Put before every text that is stored.")
@click.option("--query-prompt", default="", help="Put before every query.")
@click.option("--max-tokens", type=click.IntRange(1), help="Truncate there; the model's own limit when left out.")
@click.option("--price", type=click.FloatRange(0), help="Per million tokens, in your currency.")
@click.option("--normalised/--not-normalised", default=None, help="Found out from its vectors when left out.")
@click.option("--state", type=_STATES, default="available", show_default=True)
@click.option("--ends-on", type=_DAY, help="The day its provider ends it.")
@common_options
def add(
    ctx: Context,
    model: str,
    path: str | None,
    package: str | None,
    options: tuple[str, ...],
    ends_on: datetime | None,
    **given: Any,
) -> None:
    """Load a model, see what it is, and register it with its fingerprint."""
    from embedmig.commands import model_add

    added = model_add(
        ctx.db,
        model,
        options=_read_options(options, path=path, package=package),
        ends_on=ends_on and ends_on.date(),
        **given,
    )
    ctx.show(added, _added)


@model.command("list")
@common_options
def list_(ctx: Context) -> None:
    """The models that are registered."""
    from embedmig.commands import model_list

    ctx.show(model_list(ctx.db), _table)


@model.command()
@model_argument
@common_options
def show(ctx: Context, model: str) -> None:
    """A model, its fingerprint, and the slots that hold its vectors."""
    from embedmig.commands import model_show

    ctx.show(model_show(ctx.db, model), _shown)


@model.command("set")
@model_argument
@click.option("--state", type=_STATES, help="gone: nothing is embedded with it any more.")
@click.option("--ends-on", type=_DAY, help="The day its provider ends it.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Where it is found now; tried first.")
@click.option("--price", type=click.FloatRange(0), help="Per million tokens.")
@click.option("--requests-per-minute", type=click.FloatRange(0), help="For all jobs together; 0: no limit.")
@click.option("--tokens-per-minute", type=click.FloatRange(0), help="For all jobs together; 0: no limit.")
@common_options
def set_(
    ctx: Context,
    model: str,
    ends_on: datetime | None,
    options: tuple[str, ...],
    **given: Any,
) -> None:
    """Change a model's state, place, price or limits. All else makes another model: register a new revision."""
    from embedmig.commands import model_set

    changed = model_set(
        ctx.db,
        model,
        ends_on=ends_on and ends_on.date(),
        options=_read_options(options) or None,
        **given,
    )
    ctx.show(changed, _set)


def _read_options(given: tuple[str, ...], **named: str | None) -> dict[str, Any]:
    return read_options(given) | {key: value for key, value in named.items() if value is not None}


def read_options(given: tuple[str, ...]) -> dict[str, Any]:
    """``("dimensions=64", "device=cpu")`` as a mapping; a value that is a JSON number or boolean becomes one."""
    import json

    options: dict[str, Any] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--option")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[key] = value if isinstance(value, bool | int | float) else text
    return options


def _added(result: "ModelAdded") -> str:
    from rich.markup import escape

    m = result.model
    known_by = (
        f"fingerprint taken on {result.compute_type}, tolerance cosine {result.tolerance:.6f}"
        if result.tolerance is not None
        else "no fingerprint: it is gone"
    )
    return "\n".join(
        [
            f"[bold]{escape(m.key)}[/] {'registered' if result.created else 'was registered already'}: {_facts(m)}",
            f"id {result.id}; {known_by}",
            f"vectors {result.indexing}",
        ]
    )


def _facts(model: Any) -> str:
    limit = f"truncates at {model.max_tokens} tokens" if model.max_tokens else "no token limit known"
    length = "normalised" if model.normalised else "not normalised"
    return f"{model.dimensions} dimensions, {model.distance.value}, {length}, {limit}"


def _table(rows: "list[ModelShown]") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return "no model is registered: embedmig model add NAME@REVISION --provider ..."
    table = Table("model", "provider", "dimensions", "distance", "state", "slots", box=None, header_style="bold")
    for row in rows:
        table.add_row(
            escape(row.model.key),
            escape(row.model.provider),
            str(row.model.dimensions),
            row.model.distance.value,
            _state(row.model),
            escape(", ".join(row.slots)),
        )
    return table


def _state(model: Any) -> str:
    return f"{model.state.value} on {model.ends_on}" if model.ends_on else str(model.state.value)


def _shown(row: "ModelShown") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    m = row.model
    facts = Table.grid(padding=(0, 2))
    options = ", ".join(f"{key}={value}" for key, value in m.options.items())
    price = "not given" if m.price_per_million_tokens is None else f"{m.price_per_million_tokens:g} a million tokens"
    fingerprint = (
        f"{row.probes} vectors, taken on {row.compute_type}, the same model down to cosine {row.tolerance:.6f}"
        if row.tolerance is not None
        else "none"
    )
    for label, value in (
        ("model", m.key),
        ("id", str(row.id)),
        ("provider", m.provider + (f" ({options})" if options else "")),
        ("vectors", _facts(m)),
        ("prompts", f"documents {m.document_prompt!r}, queries {m.query_prompt!r}"),
        ("price", price),
        ("limits", _limits(row.limits)),
        ("state", _state(m)),
        ("fingerprint", fingerprint),
        ("slots", ", ".join(row.slots) or "none"),
    ):
        facts.add_row(f"[bold]{label}[/]", escape(value))
    return facts


def _set(result: "ModelSet") -> str:
    from rich.markup import escape

    said = "changed" if result.changed else "is so already"
    return f"[bold]{escape(result.model.key)}[/] {said}: {_state(result.model)}, {_limits(result.limits)}"


def _limits(limits: "RateLimits") -> str:
    told = [
        f"{value:,.0f} {what} a minute"
        for value, what in ((limits.requests_per_minute, "requests"), (limits.tokens_per_minute, "tokens"))
        if value is not None
    ]
    return " and ".join(told) or "no limit per minute"
