"""Whether a slot may be served to more requests than now: complete up to a small, young tail."""

from dataclasses import dataclass

from embedmig.backfill.census import Census, count_rows
from embedmig.db import Connection
from embedmig.settings import Settings
from embedmig.types import Collection, ModelState, Slot


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The answer, and what speaks against it."""

    complete: bool
    reasons: list[str]
    """One sentence each, empty when complete."""
    census: Census
    tail_allowed: int
    """So many rows may be queued."""


def completeness(conn: Connection, collection: Collection, slot: Slot, settings: Settings) -> Completeness:
    """Counts the whole table. Bridged rows count as complete; what is queued counts as tail."""
    census = count_rows(conn, collection, slot)
    allowed = tail_allowed(census.with_text, settings)
    reasons = list_reasons(collection, slot, census, allowed, settings)
    return Completeness(complete=not reasons, reasons=reasons, census=census, tail_allowed=allowed)


def tail_allowed(rows: int, settings: Settings) -> int:
    """How many rows may be queued: the smaller of a share and a number, but some always."""
    return max(settings.tail_always_rows, min(int(rows * settings.tail_share), settings.tail_rows))


def list_reasons(collection: Collection, slot: Slot, census: Census, allowed: int, settings: Settings) -> list[str]:
    """What keeps the slot from being complete, the worst first. Pure."""
    found = [
        (census.other_model, "{n:,} rows hold a vector labelled as another model's"),
        (census.missing_not_queued, "{n:,} rows have text and no vector"),
        (census.stale_not_queued, "{n:,} rows have a vector of an earlier text, and nobody knows"),
        (census.failed, "{n:,} rows could not be embedded (embedmig failures list {collection})"),
    ]
    reasons = [text.format(n=n, collection=collection.name) for n, text in found if n]
    if slot.model.state is ModelState.GONE:
        return reasons + _lost_with_the_model(slot, census)
    return reasons + _tail_reasons(census, allowed, settings)


def _tail_reasons(census: Census, allowed: int, settings: Settings) -> list[str]:
    reasons = []
    if census.queued > allowed:
        reasons.append(f"{census.queued:,} rows are queued, {allowed:,} may be")
    if (census.oldest_queued_s or 0) > settings.tail_age_s:
        reasons.append(
            f"a row has been queued for {census.oldest_queued_s:,.0f} s, {settings.tail_age_s:g} s are allowed"
        )
    return reasons


def _lost_with_the_model(slot: Slot, census: Census) -> list[str]:
    lacking = census.missing - census.missing_not_queued + census.stale - census.stale_not_queued
    if not lacking:
        return []
    return [f"{lacking:,} rows were written since {slot.model.key} went: it cannot embed them any more"]
