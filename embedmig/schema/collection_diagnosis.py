"""What of a registered collection is good, doubtful or wrong, each with what to do about it. Reads only."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import sql

from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Queries
from embedmig.db.identifiers import slot_table, table
from embedmig.schema.build_memory import memory_settings
from embedmig.schema.diagnosis import Finding, fail, ok, warn
from embedmig.schema.estimates import hnsw_memory_bytes
from embedmig.schema.indexes import index_state
from embedmig.schema.inspection import AnnIndex, TableFacts, describe_table, find_ann_indexes
from embedmig.types import Collection, Maintainer, Placement, Slot

QUERIES = Queries(__package__, "diagnosis.sql")

_MIB = 1 << 20


def diagnose_collection(conn: Connection, collection: Collection) -> list[Finding]:
    """The collection's table, slots, triggers, checks and indexes."""
    check = f"collection {collection.name}"
    slots = list_slots(conn, collection)
    rights = conn.execute(QUERIES["table_rights"], {"schema": collection.schema, "table": collection.table}).fetchone()
    if rights is None:
        gone = f"table {collection.qualified} is gone"
        return [fail(check, gone, f"restore or rename it back; or embedmig detach {collection.name}")]
    if not (rights["may_select"] and rights["may_look"]):
        return [_unreadable(conn, check, collection, rights)]
    facts = describe_table(conn, collection.schema, collection.table)
    found = [
        *_columns(check, collection, facts, slots),
        *_ownership(check, facts, rights),
        *_row_security(check, facts),
        *_triggers(conn, check, collection, facts, slots),
        *_upkeep(conn, check, facts, slots),
        *(finding for slot in slots for finding in _slot(conn, check, collection, facts, slot)),
    ]
    return found or [ok(check, f"{collection.qualified}, {len(slots)} slot(s)")]


def grants_for_searching(conn: Connection, chosen: Sequence[Collection]) -> list[str]:
    """The GRANTs that roles which only search still lack: those that may read a table of ``chosen``, each for the
    tables it reads. Where there is no such role, all of them, for a role ``app``."""
    ours = ["embedmig.route", "embedmig.slot"]
    reads: dict[str, list[str]] = {}
    for collection in chosen:
        names = {"schema": collection.schema, "table": collection.table}
        searched = _searched(conn, collection)
        for row in conn.execute(QUERIES["readers"], names).fetchall():
            reads.setdefault(row["role"], list(ours)).extend(searched)
    if not reads:
        return _grants("app", [*ours, *(name for each in chosen for name in _searched(conn, each))], usage=False)
    return [grant for role in sorted(reads) for grant in _missing_grants(conn, role, reads[role])]


def _searched(conn: Connection, collection: Collection) -> list[str]:
    """The collection's own table and its companions."""
    companions = [slot for slot in list_slots(conn, collection) if slot.placement is Placement.COMPANION]
    return [table(collection).as_string(conn), *(slot_table(slot).as_string(conn) for slot in companions)]


def _missing_grants(conn: Connection, role: str, tables: Sequence[str]) -> list[str]:
    row = conn.execute(QUERIES["reader_rights"], {"role": role, "tables": list(tables)}).fetchone()
    assert row is not None
    return _grants(sql.Identifier(role).as_string(conn), row["unreadable"], usage=row["usage"])


def _grants(role: str, tables: Sequence[str], *, usage: bool) -> list[str]:
    grants = [] if usage else [f"GRANT USAGE ON SCHEMA embedmig TO {role}"]
    if tables:
        grants.append(f"GRANT SELECT ON {', '.join(tables)} TO {role}")
    return grants


def _columns(check: str, collection: Collection, facts: TableFacts, slots: Sequence[Slot]) -> list[Finding]:
    needed = [column.name for column in collection.key]
    needed += [*collection.text_columns, *collection.filter_columns]
    for slot in slots:
        if slot.placement is Placement.COLUMN:
            needed += [name for name in (slot.vector_column, slot.model_column, slot.hash_column) if name]
    missing = [name for name in dict.fromkeys(needed) if not facts.has_column(name)]
    if not missing:
        return []
    said = f"{facts.name} has no column {', '.join(missing)} any more"
    return [fail(check, said, f"rename it back, or embedmig detach {collection.name} and register the table anew")]


def _unreadable(conn: Connection, check: str, collection: Collection, rights: dict[str, Any]) -> Finding:
    role = sql.Identifier(rights["role"])
    grants = []
    if not rights["may_look"]:
        grants.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(collection.schema), role))
    if not rights["may_select"]:
        grants.append(sql.SQL("GRANT SELECT ON {} TO {}").format(table(collection), role))
    said = f"this role may not read {collection.qualified}"
    return fail(check, said, "; ".join(grant.as_string(conn) for grant in grants))


def _ownership(check: str, facts: TableFacts, rights: dict[str, Any]) -> list[Finding]:
    if rights["owns"]:
        return []
    said = f"this role does not own {facts.name}: it may search, and fill what is there"
    return [warn(check, said, f"expand, index, handover and contract want {rights['owner']} or a member of it")]


def _row_security(check: str, facts: TableFacts) -> list[Finding]:
    if facts.rows_hidden:
        said = f"row-level security hides rows of {facts.name} from this role: they would never be embedded"
        return [fail(check, said, "connect as a role with BYPASSRLS, or as the owner without FORCE ROW LEVEL SECURITY")]
    if facts.force_row_security:
        said = f"{facts.name} has FORCE ROW LEVEL SECURITY, which holds for its owner too"
        return [warn(check, said, "run every worker as a role with BYPASSRLS, such as this one")]
    return []


def _triggers(
    conn: Connection, check: str, collection: Collection, facts: TableFacts, slots: Sequence[Slot]
) -> list[Finding]:
    ours = [slot for slot in slots if slot.maintained_by is Maintainer.EMBEDMIG]
    if not ours:
        return []
    wanted = {
        "collection_id": collection.id,
        "apart": any(slot.placement is Placement.COMPANION for slot in ours),
        "schema": collection.schema,
        "table": collection.table,
    }
    rows = conn.execute(QUERIES["triggers"], wanted).fetchall()
    looked_at = (_trigger(check, collection, facts, row["name"], row["enabled"]) for row in rows)
    return [finding for finding in looked_at if finding is not None]


def _trigger(check: str, collection: Collection, facts: TableFacts, name: str, enabled: str | None) -> Finding | None:
    then = f"then embedmig verify {collection.name}"
    if enabled is None:
        again = f"SELECT embedmig.replace_triggers_v1({collection.id}); {then}"
        return fail(check, f"trigger {name} is lost: edits of {facts.name} go unseen", again)
    if enabled in "DR":
        again = f"ALTER TABLE {facts.name} ENABLE TRIGGER {name}; {then}"
        return fail(check, f"trigger {name} is disabled: edits of {facts.name} go unseen", again)
    if facts.subscribed and enabled != "A":
        again = f"ALTER TABLE {facts.name} ENABLE ALWAYS TRIGGER {name}; {then}"
        return fail(check, f"{facts.name} is fed by a subscription, which trigger {name} does not see", again)
    return None


def _upkeep(conn: Connection, check: str, facts: TableFacts, slots: Sequence[Slot]) -> list[Finding]:
    apart = [slot for slot in slots if slot.placement is Placement.COMPANION and _is_there(conn, slot)]
    described = [facts, *(describe_table(conn, slot.schema, slot.table) for slot in apart)]
    return [
        warn(check, f"autovacuum is off for {each.name}", f"ALTER TABLE {each.name} RESET (autovacuum_enabled)")
        for each in described
        if not each.autovacuum
    ]


def _is_there(conn: Connection, slot: Slot) -> bool:
    row = conn.execute(QUERIES["is_there"], {"schema": slot.schema, "table": slot.table}).fetchone()
    return row is not None and bool(row["there"])


def _slot(conn: Connection, check: str, collection: Collection, facts: TableFacts, slot: Slot) -> list[Finding]:
    if not _is_there(conn, slot):
        said = f"the companion {slot.schema}.{slot.table} of slot {slot.name} is gone"
        return [fail(check, said, f"restore it; or embedmig expand {collection.name} --undo, and expand anew")]
    found = [
        _invalid(conn, check, collection, slot, index)
        for index in find_ann_indexes(conn, slot.schema, slot.table, slot.vector_column)
        if not index.valid
    ]
    validates = f"embedmig index {collection.name} --slot {slot.name} validates it"
    found += [
        warn(check, f"check {row['name']} is not validated: rows from before it were not looked at", validates)
        for row in _unvalidated(conn, slot)
    ]
    if slot.index_name is None and slot.maintained_by is Maintainer.EMBEDMIG:
        found += _memory(conn, check, facts, slot)
    return found


def _invalid(conn: Connection, check: str, collection: Collection, slot: Slot, index: AnnIndex) -> Finding:
    building = index_state(conn, replace(slot, index_name=index.name)).building_pid
    if building is not None:
        return ok(check, f"index {index.name} of slot {slot.name} is being built, by pid {building}")
    drop = sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name)).as_string(conn)
    said = f"index {index.name} of slot {slot.name} is INVALID: it costs every write and serves no search"
    return fail(check, said, f"embedmig index {collection.name} --slot {slot.name}, or {drop}")


def _unvalidated(conn: Connection, slot: Slot) -> list[dict[str, Any]]:
    return conn.execute(QUERIES["unvalidated_checks"], {"schema": slot.schema, "table": slot.table}).fetchall()


def _memory(conn: Connection, check: str, facts: TableFacts, slot: Slot) -> list[Finding]:
    wanted = hnsw_memory_bytes(facts.rows, slot.model.dimensions, slot.vector_type)
    settings = memory_settings(conn)
    given = max(settings.maintenance_work_mem_bytes, settings.shared_buffers_bytes)
    if wanted <= given:
        return []
    said = f"the index of slot {slot.name} wants {wanted // _MIB:,} MiB to be built, and would get {given // _MIB:,}"
    return [
        warn(check, said, f"if the server has it: --maintenance-work-mem {-(-wanted // _MIB)}MB; else it takes longer")
    ]
