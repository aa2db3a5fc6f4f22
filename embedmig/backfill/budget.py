"""What a job may take, over all its runs and workers, and what it has taken so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from embedmig.backfill.jobs import find_job
from embedmig.db import Connection, Queries
from embedmig.errors import UsageError
from embedmig.types import Slot

QUERIES = Queries(__package__, "budget.sql")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """None: not said, which leaves what was said before; infinity: no limit any more."""

    max_cost: float | None = None
    """In the currency of the model's price."""
    max_rows: float | None = None
    max_seconds: float | None = None
    """Of running, added up over all processes that run the job."""

    def __post_init__(self) -> None:
        for name in ("max_cost", "max_rows", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"--{name.replace('_', '-')} is 0 or more, or inf for no limit; not {value}")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a job has taken."""

    rows: int
    tokens: int
    cost: float | None
    """None without a price."""
    seconds: float
    requests: int
    retries: int
    billed: bool
    """The provider counted the tokens; else they are about right."""


def find_budget(conn: Connection, slots: Sequence[Slot]) -> Budget:
    """The budget of the open jobs of ``slots``: one for all of them."""
    row = conn.execute(QUERIES["find_budget"], {"slot_ids": [slot.id for slot in slots]}).fetchone()
    return Budget() if row is None else Budget(**row)


def set_budget(conn: Connection, slots: Sequence[Slot], budget: Budget) -> None:
    """Changes what is said in ``budget`` for the open jobs of ``slots``; every run keeps to it within seconds."""
    said = {name: value for name, value in vars(budget).items() if value is not None}
    if said:
        stored = {name: None if math.isinf(value) else value for name, value in said.items()}
        values = {"slot_ids": [slot.id for slot in slots], "said": Jsonb(stored)}
        conn.execute(QUERIES["set_budget"], values)


def fetch_spent(conn: Connection, slots: Sequence[Slot]) -> Spent:
    """What the open jobs of ``slots`` took together. Rows and vectors from the queue are no part of a job."""
    total = [_spent_of(conn, slot) for slot in slots if find_job(conn, slot) is not None]
    costs = [spent.cost for spent in total if spent.cost is not None]
    return Spent(
        rows=sum(spent.rows for spent in total),
        tokens=sum(spent.tokens for spent in total),
        cost=sum(costs) if costs else None,
        seconds=max((spent.seconds for spent in total), default=0.0),
        requests=sum(spent.requests for spent in total),
        retries=sum(spent.retries for spent in total),
        billed=bool(total) and all(spent.billed for spent in total),
    )


def _spent_of(conn: Connection, slot: Slot) -> Spent:
    row = conn.execute(QUERIES["spent"], {"slot_id": slot.id}).fetchone()
    assert row is not None
    price = slot.model.price_per_million_tokens
    return Spent(cost=None if price is None else row["tokens"] * price / 1e6, **row)


def note_use(
    conn: Connection, slots: Sequence[Slot], *, seconds: float, requests: int, retries: int, billed: bool
) -> None:
    """Adds what a run took since it last said so to the open jobs of ``slots``."""
    values = {"slot_ids": [slot.id for slot in slots], "billed": billed}
    conn.execute(QUERIES["note_use"], values | {"seconds": seconds, "requests": requests, "retries": retries})


def exhausted(budget: Budget, spent: Spent) -> str | None:
    """Which limit is reached, in words; None while there is room. Pure."""
    if budget.max_cost is not None and spent.cost is not None and spent.cost >= budget.max_cost:
        return f"{_about(spent)}{spent.cost:.4g} of --max-cost {budget.max_cost:g} is spent"
    if budget.max_rows is not None and spent.rows >= budget.max_rows:
        return f"{spent.rows:,} rows are embedded, --max-rows is {budget.max_rows:,.0f}"
    if budget.max_seconds is not None and spent.seconds >= budget.max_seconds:
        return f"it ran for {spent.seconds:,.0f} s, --max-seconds is {budget.max_seconds:g}"
    return None


def _about(spent: Spent) -> str:
    return "" if spent.billed else "about "
