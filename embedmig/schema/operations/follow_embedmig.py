"""op.follow_embedmig: in a database that embedmig does not keep, what a verb of embedmig has done in another."""

from collections.abc import Sequence
from typing import Any, ClassVar

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from embedmig.schema.operations.base import HasStatements, render_call, run_statements, under_short_locks

RETIRE, KEEP_SOURCE, DETACH = "contract --retire", "contract --keep-source", "detach"

_FOLLOW = """DO $follow$ BEGIN
    IF to_regclass('embedmig.collection') IS NOT NULL THEN
        IF EXISTS (SELECT FROM embedmig.migration m JOIN embedmig.collection c ON c.id = m.collection_id
                     JOIN embedmig.slot s ON s.id = m.source_id
                    WHERE c.name = {collection} AND s.name = {slot} AND m.closed_at IS NULL AND {undone}) THEN
            RAISE EXCEPTION '%', {refusal} USING ERRCODE = 'EM001';
        END IF;
        IF EXISTS (SELECT FROM embedmig.collection c WHERE c.name = {collection})
           OR EXISTS (SELECT FROM embedmig.event e WHERE e.collection = {collection} AND e.verb = 'detach') THEN
            RAISE NOTICE '%', {notice};
            RETURN;
        END IF;
    END IF;
    {statements};
END $follow$"""

_UNDONE = {RETIRE: "m.retired_at IS NULL", KEEP_SOURCE: "true", DETACH: "false"}
"""What of an open migration tells that the verb has not been run there. A collection that is there after a detach may
have been registered anew: nothing can be told of it, and ``detach`` does there what is left to do."""


class _FollowOp(MigrateOperation):
    """Both ways take the same arguments, so that each is the other's reverse."""

    function: ClassVar[str]

    def __init__(
        self, collection: str, verb: str, *, slot: str | None, statements: Sequence[str], undo: Sequence[str]
    ) -> None:
        self.collection, self.verb, self.slot = collection, verb, slot
        self.do, self.undo = list(statements), list(undo)

    @classmethod
    def invoke(
        cls,
        operations: Operations,
        collection: str,
        verb: str,
        *,
        slot: str | None = None,
        statements: Sequence[str],
        undo: Sequence[str],
    ) -> None:
        """``statements`` are what the verb ran, ``undo`` is what takes it back."""
        operations.invoke(cls(collection, verb, slot=slot, statements=statements, undo=undo))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As Alembic prints operations."""
        return (type(self).__name__, self.collection, self.verb, self.slot)

    def _turned(self, op_class: "type[_FollowOp]") -> MigrateOperation:
        return op_class(self.collection, self.verb, slot=self.slot, statements=self.do, undo=self.undo)

    def _guarded(self, statements: Sequence[str], undone: str) -> list[str]:
        body = sql.SQL(_FOLLOW).format(
            collection=sql.Literal(self.collection),
            slot=sql.Literal(self.slot or ""),
            undone=sql.SQL(undone),
            refusal=sql.Literal(
                f"slot {self.slot} of {self.collection} may still be needed here: run embedmig {self.verb} for"
                f" {self.collection} first, which asks; after that this revision changes nothing"
            ),
            notice=sql.Literal(f"{self.collection} is embedmig's here, and its own verbs change it: nothing is done"),
            statements=sql.SQL(";\n    ").join(map(sql.SQL, statements)) if statements else sql.SQL("NULL"),
        )
        return under_short_locks([body])


@Operations.register_operation("follow_embedmig", "invoke")
class FollowEmbedmigOp(_FollowOp):
    """Runs the statements where the collection is not registered. Where it is, the verb itself runs them: fails until
    it has, and changes nothing from then on."""

    function = "follow_embedmig"

    def reverse(self) -> MigrateOperation:
        """Runs ``undo`` where the collection is not registered."""
        return self._turned(UnfollowEmbedmigOp)

    def statements(self) -> list[str]:
        """One block, under a short lock_timeout."""
        return self._guarded(self.do, _UNDONE[self.verb])


@Operations.register_operation("unfollow_embedmig", "invoke")
class UnfollowEmbedmigOp(_FollowOp):
    """Takes it back where the collection is not registered; changes nothing where it is, or was before a detach."""

    function = "unfollow_embedmig"

    def reverse(self) -> MigrateOperation:
        """Runs the statements again."""
        return self._turned(FollowEmbedmigOp)

    def statements(self) -> list[str]:
        """One block, under a short lock_timeout."""
        return self._guarded(self.undo, "false")


@Operations.implementation_for(FollowEmbedmigOp)
@Operations.implementation_for(UnfollowEmbedmigOp)
def _run(operations: Operations, op: HasStatements) -> None:
    run_statements(operations, op)


@renderers.dispatch_for(FollowEmbedmigOp)
@renderers.dispatch_for(UnfollowEmbedmigOp)
def _render(context: AutogenContext, op: _FollowOp) -> str:
    named = {"slot": op.slot, "statements": op.do, "undo": op.undo}
    return render_call(context, op.function, (op.collection, op.verb), named)
