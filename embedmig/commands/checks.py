"""audit, verify and doctor: what is so, without changing it."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from embedmig.backfill.census import Census, WrongRow, count_rows, find_wrong_rows
from embedmig.backfill.key_text import keep_key_text
from embedmig.catalog.collections import get_collection, list_collections
from embedmig.catalog.events import log_event
from embedmig.catalog.serving import read_serving
from embedmig.catalog.slots import get_slot, list_slots
from embedmig.db import Connection, Database
from embedmig.schema.collection_diagnosis import diagnose_collection, grants_for_searching
from embedmig.schema.diagnosis import Finding, Level, diagnose_server, fail, is_installed
from embedmig.search.routing import idle_variables
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Maintainer, Slot
from embedmig.validation.audit import Audit, audit_slot


def audit(
    db: Database,
    collection: str,
    *,
    slot: str | None = None,
    sample: int = 200,
    seed: int = 0,
    settings: Settings | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Audit:
    """Embeds ``sample`` rows again with the declared model and compares with the stored vectors.

    ``slot``: the open migration's source, or the only slot, when not named. The result is logged as an event, as a
    share that stands beside what is declared. Raises RefusedError when the model is gone.
    """
    settings = settings or load_settings()
    with db.connect(patience=settings) as conn:
        serving = read_serving(conn, collection)
        found = serving.source if slot is None else get_slot(conn, serving.collection, slot)
        result = audit_slot(
            conn,
            serving.collection,
            found,
            sample=sample,
            cosine=settings.audit_cosine,
            confidence=settings.confidence,
            seed=seed,
            on_progress=on_progress,
        )
        log_event(
            conn,
            "audit",
            collection,
            became="nothing compared" if not result.compared else "clean" if result.is_clean else "mismatches",
            slot=found.name,
            model=found.model.key,
            compared=result.compared,
            matching=result.matching,
            low=result.low,
            high=result.high,
            seed=seed,
        )
        return result


@dataclass(frozen=True, kw_only=True)
class SlotVerified:
    """One slot, row by row."""

    slot: str
    model: str
    maintained_by: str
    census: Census
    wrong_rows: tuple[WrongRow, ...]
    """The first of those that are not as they should be, when asked for."""
    judged: bool
    """Whether it counts for the whole: what the application maintains is shown only."""
    ok: bool
    """Nothing is wrong that nobody knows of."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What ``verify`` found."""

    collection: str
    slots: tuple[SlotVerified, ...]
    ok: bool
    """Every row of the slots judged has a vector, of its model, of its present text, or is known to lack it."""


def verify(db: Database, collection: str, *, slot: str | None = None, keys: int = 0) -> Verified:
    """Reads the whole table in SQL, with no model call and no write: counts every row's state in every slot.

    ``slot``: that one only, and judged whoever maintains it. ``keys``: show so many of the rows that are wrong.
    """
    with db.connect(patience=load_settings()) as conn:
        known = get_collection(conn, collection)
        keep_key_text(conn, known)
        slots = list_slots(conn, known) if slot is None else [get_slot(conn, known, slot)]
        found = tuple(_verify_slot(conn, known, one, keys=keys, judged=slot is not None) for one in slots)
    return Verified(collection=collection, slots=found, ok=all(one.ok for one in found if one.judged))


def _verify_slot(conn: Connection, collection: Collection, slot: Slot, *, keys: int, judged: bool) -> SlotVerified:
    census = count_rows(conn, collection, slot)
    return SlotVerified(
        slot=slot.name,
        model=slot.model.key,
        maintained_by=slot.maintained_by.value,
        census=census,
        wrong_rows=tuple(find_wrong_rows(conn, collection, slot, limit=keys)) if keys else (),
        judged=judged or slot.maintained_by is Maintainer.EMBEDMIG,
        ok=census.wrong == 0,
    )


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What ``doctor`` found, the server first, then each collection."""

    findings: tuple[Finding, ...]
    grants: tuple[str, ...]
    """What roles that only search still lack."""

    @property
    def failed(self) -> bool:
        """Whether anything stands in the way."""
        return any(finding.level is Level.FAIL for finding in self.findings)


def doctor(db: Database, collection: str | None = None) -> Doctor:
    """Looks at everything outside embedmig that a migration hangs on, and changes nothing. All collections, or one.

    Works without pgvector and without the control schema, and says so. Raises DatabaseError when the server is not to
    be reached.
    """
    with db.connect(patience=load_settings()) as conn:
        findings = diagnose_server(conn)
        grants: list[str] = []
        if is_installed(findings):
            chosen = list_collections(conn) if collection is None else [get_collection(conn, collection)]
            findings += [finding for each in chosen for finding in diagnose_collection(conn, each)]
            grants = grants_for_searching(conn, chosen)
            names = [each.name for each in list_collections(conn)]
            findings += [fail("environment", idle, "mend or unset it") for idle in idle_variables(os.environ, names)]
    return Doctor(findings=tuple(findings), grants=tuple(grants))
