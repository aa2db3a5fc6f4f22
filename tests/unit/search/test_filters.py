"""Conditions on the user's table: what reaches SQL, and what is refused."""

import enum
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from embedmig.errors import UsageError
from embedmig.search.filters import Filter, compile_filter
from tests.unit.search.servings import DOCS


class Base(DeclarativeBase):
    pass


class Kind(enum.Enum):
    GUIDE = "guide"
    NEWS = "news"


class Doc(Base):
    __tablename__ = "docs"
    id: Mapped[int] = mapped_column(primary_key=True)
    lang: Mapped[str]
    odd: Mapped[str] = mapped_column("Odd name")
    kind: Mapped[Kind]
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB)


docs = Doc.__table__
tags = sa.Table("tags", sa.MetaData(), sa.Column("doc_id", sa.Integer), sa.Column("name", sa.Text))


def compiled(where: Any, params: dict[str, Any] | None = None) -> Filter:
    return compile_filter(where, params, DOCS)


@pytest.mark.parametrize("lang", [docs.c.lang, Doc.lang], ids=["core", "orm"])
def test_columns_of_the_table_are_read_from_the_row_and_values_are_parameters(lang: Any) -> None:
    found = compiled(lang == "x'; DROP TABLE docs; --")
    assert found.text == "d.lang = %(lang_1)s::VARCHAR"
    assert found.params == {"lang_1": "x'; DROP TABLE docs; --"}


def test_a_table_with_its_schema_is_the_same_table() -> None:
    table = sa.Table("docs", sa.MetaData(), sa.Column("lang", sa.Text), schema="public")
    assert compiled(table.c.lang == "en").text.startswith("d.lang = ")


def test_odd_names_are_quoted() -> None:
    assert compiled(Doc.odd == "x").text.startswith('d."Odd name" = ')


def test_a_list_of_values_is_one_parameter_each() -> None:
    found = compiled(sa.and_(Doc.lang.in_(["en", "de"]), Doc.id > 3))
    assert sorted(found.params.values(), key=str) == [3, "de", "en"]
    assert all(f"%({name})s" in found.text for name in found.params)


def test_values_are_converted_as_their_columns_type_does_it() -> None:
    assert compiled(Doc.kind == Kind.NEWS).params == {"kind_1": "NEWS"}
    assert compiled(Doc.kind.in_([Kind.NEWS])).params == {"kind_1_1": "NEWS"}
    json = compiled(Doc.meta.contains({"a": 1})).params["meta_1"]
    assert (type(json), json.obj) == (Jsonb, {"a": 1})


def test_a_percent_sign_of_an_operator_is_doubled() -> None:
    assert "d.id %% " in compiled(Doc.id % 2 == 0).text


def test_a_sub_select_correlates_with_the_row() -> None:
    found = compiled(sa.exists().where(tags.c.doc_id == Doc.id))
    assert found.text == "EXISTS (SELECT * \nFROM tags \nWHERE tags.doc_id = d.id)"


def test_an_alias_of_the_table_stays_another_row() -> None:
    other = aliased(Doc, name="other")
    found = compiled(sa.exists().where(other.id == Doc.id + 1))
    assert "FROM docs AS other" in found.text
    assert "other.id = d.id + " in found.text


def test_another_table_outside_a_sub_select_is_refused() -> None:
    with pytest.raises(UsageError, match=r"reads more than public\.docs: put other tables into an EXISTS"):
        compiled(tags.c.name == "x")


def test_a_table_of_the_same_name_in_another_schema_is_refused() -> None:
    table = sa.Table("docs", sa.MetaData(), sa.Column("lang", sa.Text), schema="other")
    with pytest.raises(UsageError, match="reads more than"):
        compiled(table.c.lang == "en")


def test_text_of_sqlalchemy_may_use_bare_names() -> None:
    found = compiled(sa.text("lang = :lang").bindparams(lang="en"))
    assert (found.text, found.params) == ("lang = %(lang)s::VARCHAR", {"lang": "en"})


def test_sql_with_values_by_name_is_taken_as_it_is() -> None:
    found = compiled("lang = %(lang)s AND title LIKE 'a%%'", {"lang": "en"})
    assert (found.text, found.params) == ("lang = %(lang)s AND title LIKE 'a%%'", {"lang": "en"})


def test_in_sql_without_values_a_percent_sign_stands_for_itself() -> None:
    assert compiled("title LIKE '100%'").text == "title LIKE '100%%'"


@pytest.mark.parametrize(
    ("where", "params", "message"),
    [
        ("  ", None, "the filter is empty"),
        ("lang = %s", ["en"], "values go by name"),
        (Doc.lang == "en", {"lang": "en"}, "carries its own values"),
        ("lang = %(embedmig_epoch)s", {"embedmig_epoch": 1}, "embedmig_epoch has a name kept for embedmig"),
        (False, None, "a SQLAlchemy expression or SQL, not bool"),
        ({"lang": "en"}, None, "a SQLAlchemy expression or SQL, not dict"),
        (docs, None, "does not compile"),
    ],
    ids=["empty", "by place", "both", "our name", "bool", "dict", "table"],
)
def test_what_is_no_condition_is_refused(where: Any, params: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compiled(where, params)


def test_the_table_is_that_of_the_collection() -> None:
    other = sa.Table("Odd table", sa.MetaData(), sa.Column("lang", sa.Text))
    collection = replace(DOCS, table="Odd table")
    assert compile_filter(other.c.lang == "en", None, collection).text.startswith("d.lang")
