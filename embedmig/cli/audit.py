"""embedmig audit"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.validation.audit import Audit

_KEYS_SHOWN = 20
_NEAR = 0.5
"""Vectors of two models are about orthogonal."""


@click.command()
@collection_argument
@click.option("--slot", metavar="NAME", help="Which slot.  [the one that serves from the first]")
@click.option("--sample", default=200, show_default=True, type=click.IntRange(1), help="How many rows to embed again.")
@click.option("--seed", default=0, show_default=True, help="Another seed takes other rows; the same, the same.")
@common_options
def audit(ctx: Context, collection: str, slot: str | None, sample: int, seed: int) -> int:
    """Do the stored vectors really come from the declared model? Embed a sample of the texts again and compare.

    Exits 1 when some do not match.
    """
    from embedmig.commands import audit as look

    found = look(ctx.db, collection, slot=slot, sample=sample, seed=seed, settings=ctx.settings)
    ctx.show(found, _describe)
    return 0 if found.is_clean else 1


def _middle(found: "Audit") -> float:
    """The median cosine of the rows that do not match."""
    return sorted(one.cosine for one in found.mismatches)[len(found.mismatches) // 2]


def _describe(found: "Audit") -> str:
    from rich.markup import escape

    return escape("\n".join(_lines(found)))


def _lines(found: "Audit") -> list[str]:
    head = f"{found.slot} of {found.collection}, declared {found.model}: "
    if found.share is None:
        lines = [head + "no row could be compared"]
    else:
        lines = [
            f"{head}{found.matching} of {found.compared} sampled vectors match (cosine >= {found.cosine:g})",
            f"  {found.share:.1%} of the sample; among all rows {found.low:.1%} to {found.high:.1%}"
            f" ({found.confidence:.0%} Wilson interval)",
        ]
    if found.stale:
        lines.append(f"  {found.stale} more were left out: their text has changed since (embedmig reembed)")
    if found.bridged:
        lines.append(f"  {found.bridged} more were left out: bridged, not the model's own by design")
    lines += [
        f"  does not match: {', '.join(one.key)} (cosine {one.cosine:.4f})" for one in found.mismatches[:_KEYS_SHOWN]
    ]
    if len(found.mismatches) > _KEYS_SHOWN:
        lines.append(f"  and {len(found.mismatches) - _KEYS_SHOWN} more: --json lists them")
    if found.compared and not found.matching and _middle(found) > _NEAR:
        lines.append(
            "  none matches and most are near, as vectors of the right model and another text are: are the text"
            " columns, their order and what joins them those that were embedded?"
        )
    elif found.mismatches and not found.texts_recorded:
        lines.append(
            "  of which text these vectors are was never recorded: a row that was edited and not embedded again looks"
            " like another model's"
        )
    return lines
