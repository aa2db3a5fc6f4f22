"""Keeps ``alembic revision --autogenerate`` from dropping what embedmig made, which the user's models do not know, and
writes the types of ours that they do know."""

from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext

from embedmig.schema.naming import COMMENT, SCHEMA


def include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:  # noqa: A002
    """For ``context.configure(include_object=...)``; False for what is ours: columns, their indexes, checks, and the
    schema embedmig. It asks nothing of a catalog, so that it answers alike in a CI that has none.

    A column is known by its comment and not by its name: ``embedding_v2`` may be the user's own, and ours may have been
    renamed. One that the models have too is left uncompared: the comment would be a difference for ever.
    """
    del reflected
    sides = [side for side in (object, compare_to) if side is not None]
    if type_ == "column":
        return not any(_is_our_column(side) for side in sides)
    if type_ == "index":
        return not any(_is_our_index(side) for side in sides)
    if type_ == "check_constraint":
        return not (name or "").startswith("embedmig_")
    if type_ == "table":
        return getattr(object, "schema", None) != SCHEMA
    return True


def render_item(type_: str, object: Any, context: AutogenContext) -> str | Literal[False]:  # noqa: A002
    """For ``context.configure(render_item=...)``: writes VersionedVector into a revision, with its import."""
    from embedmig.sqlalchemy import VersionedVector

    if type_ != "type" or not isinstance(object, VersionedVector):
        return False
    context.imports.add("from embedmig import VersionedVector")
    return repr(object)


def _is_our_column(column: Any) -> bool:
    return (getattr(column, "comment", None) or "").startswith(COMMENT)


def _is_our_index(index: Any) -> bool:
    if any(_is_our_column(column) for column in index.columns):
        return True
    # An index over an expression, as binary quantisation has it, names its column in a text only.
    ours = [column.name for column in index.table.columns if _is_our_column(column)]
    return any(name in str(expression) for expression in index.expressions for name in ours)
