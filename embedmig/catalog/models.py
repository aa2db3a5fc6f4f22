"""The models that a database knows."""

from typing import Any

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.errors import ConflictError, NotFoundError
from embedmig.types import Distance, Model, ModelState, parse_model_key

QUERIES = Queries(__package__, "models.sql")


def add_model(conn: Connection, model: Model, fingerprint: bytes | None) -> bool:
    """Registers a model; False when the same definition is there already.

    Raises ConflictError when its name@revision, or its id, has another definition here.
    """
    values = _values(model) | {"fingerprint": fingerprint}
    if conn.execute(QUERIES["insert_model"], values).fetchone() is not None:
        return True
    existing = conn.execute(QUERIES["find_model_by_id"], {"id": model.id}).fetchone()
    if existing is not None and model_from_row(existing).key == model.key:
        return False
    raise ConflictError(
        f"model {model.key} is registered with another definition (dimensions, normalisation, prompts or token limit):"
        " vectors of the two must not meet. Give this one a revision of its own"
    )


def get_model(conn: Connection, key: str) -> Model:
    """The model ``name@revision``. Raises NotFoundError that lists those there are."""
    name, revision = parse_model_key(key)
    row = conn.execute(QUERIES["find_model"], {"name": name, "revision": revision}).fetchone()
    if row is None:
        known = [model.key for model in list_models(conn)]
        raise NotFoundError("model", key, known=known, hint=f"register it, embedmig model add {key}")
    return model_from_row(row)


def list_models(conn: Connection) -> list[Model]:
    """All models by name and revision."""
    return [model_from_row(row) for row in conn.execute(QUERIES["list_models"])]


def update_model(conn: Connection, model: Model) -> None:
    """Writes state, end date, options and price; all else of a model is what makes it that model."""
    conn.execute(QUERIES["update_model"], _values(model))


def get_fingerprint(conn: Connection, model: Model) -> bytes | None:
    """The stored fingerprint, as ``embedders.Fingerprint.from_bytes`` reads it."""
    row = conn.execute(QUERIES["find_fingerprint"], {"id": model.id}).fetchone()
    return None if row is None or row["fingerprint"] is None else bytes(row["fingerprint"])


def model_from_row(row: dict[str, Any], prefix: str = "") -> Model:
    """A Model from columns named as its fields, each behind ``prefix``."""
    return Model(
        name=row[f"{prefix}name"],
        revision=row[f"{prefix}revision"],
        provider=row[f"{prefix}provider"],
        options=row[f"{prefix}options"],
        dimensions=row[f"{prefix}dimensions"],
        distance=Distance(row[f"{prefix}distance"]),
        normalised=row[f"{prefix}normalised"],
        document_prompt=row[f"{prefix}document_prompt"],
        query_prompt=row[f"{prefix}query_prompt"],
        max_tokens=row[f"{prefix}max_tokens"],
        price_per_million_tokens=row[f"{prefix}price_per_million_tokens"],
        state=ModelState(row[f"{prefix}state"]),
        ends_on=row[f"{prefix}ends_on"],
    )


def _values(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "revision": model.revision,
        "provider": model.provider,
        "options": Jsonb(dict(model.options)),
        "dimensions": model.dimensions,
        "distance": model.distance.value,
        "normalised": model.normalised,
        "document_prompt": model.document_prompt,
        "query_prompt": model.query_prompt,
        "max_tokens": model.max_tokens,
        "price_per_million_tokens": model.price_per_million_tokens,
        "state": model.state.value,
        "ends_on": model.ends_on,
    }
