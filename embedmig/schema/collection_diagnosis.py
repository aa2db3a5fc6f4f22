"""What of a registered collection is good, doubtful or wrong, each with what to do about it. Reads only."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import sql

from embedmig.catalog.collections import list_collections
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Queries
from embedmig.db.identifiers import slot_table, table
from embedmig.errors import NotFoundError
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
    try:
        facts = describe_table(conn, collection.schema, collection.table)
    except NotFoundError:
        gone = f"table {collection.qualified} is gone"
        return [fail(check, gone, f"restore or rename it back; or embedmig detach {collection.name}")]
    found = [
        *_columns(check, collection, facts, slots),
        *_rights(conn, check, collection, facts),
        *_row_security(check, facts),
        *_triggers(conn, check, collection, facts, slots),
        *_upkeep(conn, check, facts, slots),
        *(finding for slot in slots for finding in _slot(conn, check, collection, facts, slot)),
    ]
    return found or [ok(check, f"{collection.qualified}, {len(slots)} slot(s)")]


def grants_for_searching(conn: Connection) -> list[str]:
    """The GRANTs that roles which only search still lack: those that may read a registered table. Where there is no
    such role, all of them, for a role ``app``."""
    tables = ["embedmig.route", "embedmig.slot"]
    readers: set[str] = set()
    for collection in list_collections(conn):
        names = {"schema": collection.schema, "table": collection.table}
        readers |= {row["role"] for row in conn.execute(QUERIES["readers"], names)}
        tables.append(table(collection).as_string(conn))
        tables += [
            slot_table(slot).as_string(conn)
            for slot in list_slots(conn, collection)
            if slot.placement is Placement.COMPANION
        ]
    if not readers:
        return _grants("app", tables, usage=False)
    return [grant for role in sorted(readers) for grant in _missing_grants(conn, role, tables)]


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


def _rights(conn: Connection, check: str, collection: Collection, facts: TableFacts) -> list[Finding]:
    row = conn.execute(QUERIES["table_rights"], {"schema": collection.schema, "table": collection.table}).fetchone()
    assert row is not None
    if not row["may_read"]:
        return [fail(check, f"this role may not read {facts.name}", f"GRANT SELECT ON {facts.name} TO this role")]
    if not row["owns"]:
        said = f"this role does not own {facts.name}: it may search, and fill what is there"
        return [warn(check, said, f"expand, index, handover and contract want {row['owner']} or a member of it")]
    return []


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
        "table": table(collection).as_string(conn),
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
    row = conn.execute("SELECT to_regclass(%s) IS NOT NULL AS there", [slot_table(slot).as_string(conn)]).fetchone()
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
    return conn.execute(QUERIES["unvalidated_checks"], {"table": slot_table(slot).as_string(conn)}).fetchall()


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
