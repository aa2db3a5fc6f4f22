"""What a table of the user's is, read from Postgres's own catalog; changes nothing, locks nothing.

Names that users type are resolved here and nowhere else.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db.identifiers import dotted
from embedmig.errors import NotFoundError, UnsupportedError
from embedmig.schema.naming import COMMENT
from embedmig.schema.placement import SMALL_ROWS, PlacementFacts
from embedmig.types import KeyColumn

QUERIES = Queries(__package__, "inspection.sql")

VECTOR_TYPES = ("vector", "halfvec")


class TableName(NamedTuple):
    """A table's exact names, as the catalog has them."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def typed(self) -> str:
        """As a person types it, in double quotes where SQL wants them: ``resolve_table`` reads it back."""
        plain = re.compile(r"[a-z_][a-z0-9_]*")
        quoted = (part if plain.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in self)
        return ".".join(quoted)

    @property
    def identifier(self) -> sql.Identifier:
        """For SQL."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the user's table."""

    name: str
    type: str
    """As ``format_type`` prints it: ``vector(384)``, ``character varying(80)``."""
    type_name: str
    """The bare type: ``vector``, ``halfvec``, ``text``."""
    category: str
    """``pg_type.typcategory``: S for strings."""
    dimensions: int | None
    """Of a vector or halfvec column that declares them."""
    nullable: bool
    generated: str | None
    """``s`` stored, ``v`` virtual, None."""
    comment: str | None

    @property
    def is_ours(self) -> bool:
        """Whether embedmig made it: its comment says so, whatever it is called."""
        return self.comment is not None and self.comment.startswith(COMMENT)


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A trigger of the user's."""

    name: str
    for_each_row: bool
    on_update: bool
    enabled: str
    """``O`` origin, ``D`` disabled, ``R`` replica, ``A`` always."""
    column_count: int | None
    """Of an ``UPDATE OF`` list; None without one."""
    definition: str

    @property
    def fires_on_our_updates(self) -> bool:
        """Whether an UPDATE that sets only columns of ours runs it."""
        return self.on_update and self.enabled in "OA" and not self.column_count


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A publication that carries the table."""

    name: str
    carries_new_columns: bool


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A table as the catalog knows it. Of a partitioned one, sizes and rows are those of its leaves together."""

    oid: int
    name: TableName
    kind: str
    """``r`` a table, ``p`` a partitioned one, ``v`` and ``m`` views, ``f`` foreign."""
    owner: str
    temporary: bool
    is_partition: bool
    has_children: bool
    """Plain inheritance, not partitions."""
    parent: str | None
    row_security: bool
    force_row_security: bool
    rows_hidden: bool
    """Row-level security hides rows from the present role."""
    replica_identity: str
    fillfactor: int
    autovacuum: bool
    subscribed: bool
    columns: tuple[Column, ...]
    key: tuple[KeyColumn, ...]
    leaves: tuple[TableName, ...]
    triggers: tuple[Trigger, ...]
    publications: tuple[Publication, ...]
    rows: int
    rows_are_exact: bool
    heap_bytes: int
    size_bytes: int
    """With TOAST, without indexes."""
    index_bytes: int
    dead_rows: int

    def column(self, name: str) -> Column:
        """The column of that exact name. Raises NotFoundError with the near ones first."""
        for column in self.columns:
            if column.name == name:
                return column
        raise NotFoundError("column", f"{name} in {self.name}", known=near(name, [c.name for c in self.columns]))

    def has_column(self, name: str) -> bool:
        """Whether there is a column of that exact name."""
        return any(column.name == name for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class AnnIndex:
    """An index for nearest neighbours."""

    name: str
    schema: str
    table: str
    """The table it stands on: the described one, or a leaf of it."""
    kind: str
    """The access method: ``hnsw``, ``ivfflat``, or one of another extension."""
    opclass: str
    options: Mapping[str, str]
    valid: bool
    ready: bool
    definition: str
    expression: str | None
    predicate: str | None
    partitioned: bool
    size_bytes: int
    columns: tuple[str, ...]
    """The columns that its first key is, or is computed from."""


@dataclass(frozen=True, kw_only=True)
class VectorColumn:
    """A column that a collection could be made of."""

    name: TableName
    column: str
    type: str
    dimensions: int | None
    has_key: bool


def near(name: str, known: list[str]) -> list[str]:
    """Up to eight of ``known``, those most like ``name`` first; those that are not like it only where few are known."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=8, cutoff=0.5)]
    return close or (known if len(known) <= 8 else [])


def resolve_table(conn: Connection, text: str) -> TableName:
    """The relation that a person means by ``text``: read as SQL reads names (``docs``, ``public.docs``,
    ``"Odd Schema"."My Table"``), or else taken as it stands, so that ``My Table`` needs no quotes.

    Raises NotFoundError that names the tables most like it.
    """
    for parts in _readings(conn, text):
        row = conn.execute(
            QUERIES["find_relation"], {"schema": parts[-2] if len(parts) > 1 else None, "table": parts[-1]}
        ).fetchone()
        if row is not None:
            return TableName(row["schema"], row["table"])
    known = [f"{row['schema']}.{row['table']}" for row in conn.execute(QUERIES["list_tables"])]
    wanted = text if "." in text else f"public.{text}"
    raise NotFoundError("table", text, known=near(wanted, known), hint=f"database {conn.info.dbname}")


def _readings(conn: Connection, text: str) -> list[list[str]]:
    try:
        # A savepoint where a transaction is open: the server's refusal must not end it.
        with conn.transaction():
            row = conn.execute(QUERIES["parse_name"], {"text": text}).fetchone()
        as_sql = [] if row is None else [row["parts"]]
    except psycopg.errors.InvalidParameterValue:
        as_sql = []
    as_it_stands = [[text], *([text.split(".", 1)] if "." in text else [])]
    return [parts for parts in [*as_sql, *as_it_stands] if len(parts) <= 2 and all(parts)]


def describe_table(conn: Connection, schema: str, table: str) -> TableFacts:
    """The table of those exact names. Counts its rows up to 100,000 and asks the planner beyond.

    Raises NotFoundError when it does not exist.
    """
    row = conn.execute(QUERIES["describe_relation"], {"schema": schema, "table": table}).fetchone()
    if row is None:
        raise NotFoundError("table", f"{schema}.{table}", hint="was it dropped or renamed?")
    oid = row["oid"]
    name = TableName(row.pop("schema"), row.pop("table"))
    stored = row["kind"] in "rp"
    rows, exact = count_rows_about(conn, name) if stored else (0, False)
    return TableFacts(
        **row,
        **_measure(conn, oid),
        name=name,
        columns=tuple(Column(**column) for column in conn.execute(QUERIES["list_columns"], {"oid": oid})),
        key=tuple(KeyColumn(**column) for column in conn.execute(QUERIES["list_key"], {"oid": oid})),
        leaves=tuple(TableName(**leaf) for leaf in conn.execute(QUERIES["list_leaves"], {"oid": oid})),
        triggers=tuple(Trigger(**trigger) for trigger in conn.execute(QUERIES["list_triggers"], {"oid": oid})),
        publications=tuple(
            Publication(**publication)
            for publication in conn.execute(QUERIES["list_publications"], {"oid": oid, **name._asdict()})
        ),
        rows=rows,
        rows_are_exact=exact,
    )


def _measure(conn: Connection, oid: int) -> dict[str, Any]:
    row = conn.execute(QUERIES["measure"], {"oid": oid}).fetchone()
    assert row is not None
    return row


def count_rows_about(conn: Connection, name: TableName, limit: int = SMALL_ROWS) -> tuple[int, bool]:
    """The rows of a table and whether that is exact: counted below ``limit``, the planner's estimate above."""
    counted = conn.execute(
        sql.SQL("SELECT count(*) AS n FROM (SELECT FROM {} LIMIT {}) AS counted").format(name.identifier, limit)
    ).fetchone()
    assert counted is not None
    if counted["n"] < limit:
        return int(counted["n"]), True
    # The planner scales its statistics by the file's present size, so this holds on a table never analysed too.
    planned = conn.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(name.identifier)).fetchone()
    assert planned is not None
    return max(limit, int(planned["QUERY PLAN"][0]["Plan"]["Plan Rows"])), False


def require_usable(facts: TableFacts) -> None:
    """Raises UnsupportedError unless the relation can be a collection: a table with a primary key, not a part of
    another, whose rows the present role all sees."""
    if reason := _unusable(facts):
        raise UnsupportedError(f"{facts.name} {reason}")


def _unusable(facts: TableFacts) -> str | None:
    whole = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}.get(facts.kind)
    if whole:
        return f"is {whole}: register the table that holds the rows"
    if facts.temporary:
        return "is a temporary table: only this session sees it"
    if facts.name.schema == "embedmig":
        return "belongs to embedmig: register a table of your own"
    if facts.is_partition:
        return f"is a partition of {facts.parent}: register that table, its partitions come with it"
    if facts.has_children or facts.parent:
        return "takes part in table inheritance, where no key covers all rows: embedmig needs one that does"
    if not facts.key:
        return f"has no primary key: add one, ALTER TABLE {facts.name} ADD PRIMARY KEY (...)"
    if facts.rows_hidden:
        return (
            "hides rows from this role by row-level security, and a hidden row would never be embedded:"
            " connect as the owner without FORCE ROW LEVEL SECURITY, or as a role with BYPASSRLS"
        )
    return None


def find_ann_indexes(conn: Connection, schema: str, table: str, column: str | None = None) -> list[AnnIndex]:
    """The indexes for nearest neighbours on a table and, where no parent's index covers them, on its leaves; only
    those over ``column`` when it is given."""
    row = conn.execute(QUERIES["describe_relation"], {"schema": schema, "table": table}).fetchone()
    if row is None:
        return []
    found = [
        AnnIndex(**index | {"columns": tuple(index["columns"])})
        for index in conn.execute(QUERIES["list_ann_indexes"], {"oid": row["oid"]})
    ]
    return [index for index in found if column is None or column in index.columns]


def find_vector_columns(conn: Connection) -> list[VectorColumn]:
    """Every ``vector`` and ``halfvec`` column of a table that the present role may read. ``bit`` columns are left out:
    few of them are embeddings."""
    return [
        VectorColumn(name=TableName(row.pop("schema"), row.pop("table")), **row)
        for row in conn.execute(QUERIES["find_vector_columns"])
    ]


def guess_text_columns(conn: Connection, facts: TableFacts, *, sample_rows: int = 1000) -> list[str]:
    """The string columns, the longest on average first; short ones (under a quarter of the longest) are left out,
    as are those of the key."""
    keys = {column.name for column in facts.key}
    strings = [column.name for column in facts.columns if column.category == "S" and column.name not in keys]
    if not strings:
        return []
    lengths = sql.SQL(", ").join(
        sql.SQL("coalesce(avg(length({}::text)), 0)").format(dotted("d", name)) for name in strings
    )
    row = conn.execute(
        sql.SQL("SELECT ARRAY[{}]::float8[] AS means FROM (SELECT * FROM {} LIMIT {}) AS d").format(
            lengths, facts.name.identifier, sample_rows
        )
    ).fetchone()
    assert row is not None
    ranked = sorted(zip(row["means"], strings, strict=True), key=lambda pair: -pair[0])
    return [name for mean, name in ranked if mean >= ranked[0][0] / 4]


def placement_facts(conn: Connection, schema: str, table: str) -> PlacementFacts:
    """What ``choose_placement`` wants to know of the user's table. Raises NotFoundError when it does not exist."""
    facts = describe_table(conn, schema, table)
    return PlacementFacts(
        rows=facts.rows,
        size_bytes=facts.size_bytes,
        has_ann_index=bool(find_ann_indexes(conn, schema, table)),
        published=any(publication.carries_new_columns for publication in facts.publications),
        select_star_statements=len(find_select_star(conn, facts) or ()),
    )


def find_select_star(conn: Connection, facts: TableFacts) -> list[str] | None:
    """The ``SELECT *`` statements on the table that pg_stat_statements has seen, as it keeps them, without values;
    None where it is not installed or may not be read."""
    there = conn.execute(QUERIES["has_extension"], {"name": "pg_stat_statements"}).fetchone()
    if there is None or not there["there"]:
        return None
    try:
        with conn.transaction():
            rows = conn.execute(
                QUERIES["find_statements"],
                {"pattern": select_star_pattern(facts.name)},
            ).fetchall()
    except psycopg.Error:
        return None
    return sorted(row["query"] for row in rows)


def select_star_pattern(name: TableName) -> str:
    r"""A regular expression: ``SELECT ... * ... FROM [schema.]table``, each name quoted or not."""

    def quoted(part: str) -> str:
        return '"?' + "".join(f"\\{char}" if not char.isalnum() and char != "_" else char for char in part) + '"?'

    table = rf"({quoted(name.schema)}\s*\.\s*)?{quoted(name.table)}"
    # A star before a comma or FROM: any other is a product, or count(*).
    return rf"select\s+([^;]*[\s,.])?\*\s*(,[^;]*)?\sfrom\s+{table}(\s|;|,|\)|$)"
