"""The statements that make a companion: 1:1 with the user's table, guarded as that is, and never touching it."""

from psycopg import sql

from embedmig.db.identifiers import comma, conjunction
from embedmig.schema.constraints import model_condition
from embedmig.schema.naming import check_of
from embedmig.schema.slot_arguments import SlotArguments

# WITH NO DATA copies the key's types, lengths and collations and reads no row. No foreign key: it would touch every row
# of the user's table and forbid its TRUNCATE.
_CREATE = sql.SQL("""DO $embedmig$ BEGIN
    IF to_regnamespace('embedmig') IS NULL THEN
        CREATE SCHEMA embedmig;
    END IF;
    IF to_regclass({name}) IS NULL THEN
        CREATE TABLE {companion} AS SELECT {key} FROM {table} WITH NO DATA;
        ALTER TABLE {companion}
            ADD COLUMN {vector} {type} NOT NULL, ADD COLUMN {model} int NOT NULL, ADD COLUMN {hash} uuid,
            ADD PRIMARY KEY ({key}), ADD CONSTRAINT {check} CHECK ({condition});{storage}
        COMMENT ON TABLE {companion} IS {comment};
    END IF;
END $embedmig$""")

# A new table may be readable by roles that default privileges name; it is to be read by those who read the user's.
_GRANT = sql.SQL("""DO $embedmig$
DECLARE role record;
BEGIN
    FOR role IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
                 WHERE c.oid = {name}::regclass AND a.grantee <> c.relowner LOOP
        EXECUTE 'REVOKE ALL ON {made} FROM '
             || CASE role.grantee WHEN 0 THEN 'PUBLIC' ELSE role.grantee::regrole::text END;
    END LOOP;
    FOR role IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
                 WHERE c.oid = {table_name}::regclass AND a.privilege_type = 'SELECT' LOOP
        EXECUTE 'GRANT SELECT ON {made} TO '
             || CASE role.grantee WHEN 0 THEN 'PUBLIC' ELSE role.grantee::regrole::text END;
    END LOOP;
END $embedmig$""")

_HIDE = sql.SQL("""DO $embedmig$ BEGIN
    IF (SELECT relrowsecurity FROM pg_class WHERE oid = {table_name}::regclass)
       AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = {name}::regclass) THEN
        ALTER TABLE {companion} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY embedmig_rows_of_the_table ON {companion} FOR SELECT
            USING (EXISTS (SELECT FROM {table} AS d WHERE {match}));
    END IF;
END $embedmig$""")


def grant_as(table: sql.Identifier, made: sql.Identifier) -> sql.Composed:
    """Lets exactly those read ``made`` who may read ``table``."""
    return _GRANT.format(
        name=sql.Literal(made.as_string(None)), table_name=sql.Literal(table.as_string(None)), made=_in_quotes(made)
    )


def _in_quotes(name: sql.Identifier) -> sql.SQL:
    """The identifier inside a string constant."""
    return sql.SQL(name.as_string(None).replace("'", "''"))


def create_companion(slot: SlotArguments) -> list[sql.Composed]:
    """Makes the companion where it is not there, and lets those read it who may read the user's table: a row of it is
    seen by whom the row of the table is."""
    assert slot.companion is not None
    assert slot.model_column is not None
    assert slot.hash_column is not None
    companion = slot.slot_table
    storage: sql.Composable = sql.SQL("")
    if slot.storage is not None:
        storage = sql.SQL("\n        ALTER TABLE {} ALTER COLUMN {} SET STORAGE {};").format(
            companion, sql.Identifier(slot.column), sql.SQL(slot.storage.upper())
        )
    names = {
        "companion": companion,
        "name": sql.Literal(companion.as_string(None)),
        "table": slot.user_table,
        "table_name": sql.Literal(slot.user_table.as_string(None)),
    }
    return [
        _CREATE.format(
            **names,
            key=comma(sql.Identifier(column) for column in slot.key),
            vector=sql.Identifier(slot.column),
            type=slot.type_name,
            model=sql.Identifier(slot.model_column),
            hash=sql.Identifier(slot.hash_column),
            check=sql.Identifier(check_of(slot.column)),
            condition=model_condition(slot.column, slot.model_column, slot.model_ids),
            storage=storage,
            comment=sql.Literal(f"embedmig: slot {slot.slot} of {slot.collection}, vectors by {slot.model}"),
        ),
        grant_as(slot.user_table, companion),
        _HIDE.format(
            **names,
            match=conjunction(
                sql.SQL("d.{0} = {1}.{0}").format(sql.Identifier(column), companion) for column in slot.key
            ),
        ),
    ]
