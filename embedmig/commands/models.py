"""model add, list, show and set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from embedmig.catalog.collections import list_collections
from embedmig.catalog.events import log_event
from embedmig.catalog.models import add_model, get_fingerprint, get_model, list_models, update_model
from embedmig.catalog.rates import RateLimits, get_limits, set_limits
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.errors import ConflictError, UsageError
from embedmig.schema.designing import indexing_of
from embedmig.types import Distance, Model, ModelState, parse_model_key

if TYPE_CHECKING:
    from embedmig.embedders import Fingerprint


@dataclass(frozen=True, kw_only=True)
class ModelAdded:
    """What ``model add`` registered."""

    model: Model
    id: int
    created: bool
    """False: the same definition was registered before."""
    compute_type: str | None
    """None: a model that is gone has no fingerprint."""
    tolerance: float | None
    """The lowest cosine with the fingerprint that is still the same model."""
    indexing: str
    """How its vectors are stored and indexed, for people."""


@dataclass(frozen=True, kw_only=True)
class ModelShown:
    """A model, what its fingerprint says, and the slots that hold its vectors."""

    model: Model
    id: int
    probes: int | None
    """Vectors in the fingerprint; None without one."""
    compute_type: str | None
    tolerance: float | None
    slots: tuple[str, ...]
    """``collection slot``."""
    limits: RateLimits
    """What all who embed for a job keep to together."""


@dataclass(frozen=True, kw_only=True)
class ModelSet:
    """What ``model set`` made of a model."""

    was: Model
    model: Model
    limits_were: RateLimits
    limits: RateLimits

    @property
    def changed(self) -> bool:
        """Whether anything was."""
        return (self.was, self.limits_were) != (self.model, self.limits)


def model_add(
    db: Database,
    model: str,
    *,
    provider: str,
    options: Mapping[str, Any] | None = None,
    dimensions: int | None = None,
    distance: str = "cosine",
    document_prompt: str = "",
    query_prompt: str = "",
    max_tokens: int | None = None,
    price: float | None = None,
    normalised: bool | None = None,
    state: str = "available",
    ends_on: date | None = None,
) -> ModelAdded:
    """Loads the model, embeds the probes, and registers what it is with its fingerprint. Repeating it changes nothing.

    ``dimensions`` is checked where the model tells them itself. With ``state`` gone nothing is loaded: a model that no
    longer answers is registered by its ``dimensions``, so that the vectors it left have a name. ``price`` is per
    million tokens. Raises UsageError, UnsupportedError for vectors longer than pgvector stores, ConflictError for
    another definition of the name, ProviderError.
    """
    measure = _distance(distance)
    lifetime = _lifetime(state, ends_on)
    if price is not None and price < 0:
        raise UsageError(f"a price is 0 or more, not {price}")
    if dimensions is not None and dimensions < 1:
        raise UsageError(f"a vector has 1 dimension or more, not {dimensions}")
    with db.connect() as conn:
        require_server(conn)
        list_models(conn)  # the control schema is there, before minutes go into loading a model
    if lifetime["state"] is ModelState.GONE:
        known, stored = _declare(model, provider, options, dimensions, measure, normalised), None
        known = replace(known, document_prompt=document_prompt, query_prompt=query_prompt, max_tokens=max_tokens)
    else:
        from embedmig.embedders import probe_model

        known, stored = probe_model(
            key=model,
            provider=provider,
            options=dict(options or {}),
            document_prompt=document_prompt,
            query_prompt=query_prompt,
            max_tokens=max_tokens,
            distance=measure,
            normalised=normalised,
        )
        if dimensions not in (None, known.dimensions):
            raise UsageError(f"{model} gives vectors of {known.dimensions} dimensions, not {dimensions}")
    known = replace(known, price_per_million_tokens=price, **lifetime)
    indexing = indexing_of(known)
    with db.connect() as conn, conn.transaction():
        created = add_model(conn, known, None if stored is None else stored.to_bytes())
        if created:
            log_event(conn, "model add", became=known.state.value, model=known.key, dimensions=known.dimensions)
        else:
            there = _require_same(known, get_model(conn, model))
            if stored is not None:
                _require_same_fingerprint(there, stored, get_fingerprint(conn, there))
            known = there
    return ModelAdded(
        model=known,
        id=known.id,
        created=created,
        compute_type=None if stored is None else stored.compute_type,
        tolerance=None if stored is None else stored.tolerance,
        indexing=indexing,
    )


def model_list(db: Database) -> list[ModelShown]:
    """Every model, by name and revision."""
    with db.connect() as conn:
        return [_show(conn, model) for model in list_models(conn)]


def model_show(db: Database, model: str) -> ModelShown:
    """One model. Raises NotFoundError that lists those there are."""
    with db.connect() as conn:
        return _show(conn, get_model(conn, model))


def model_set(
    db: Database,
    model: str,
    *,
    state: str | None = None,
    ends_on: date | None = None,
    options: Mapping[str, Any] | None = None,
    price: float | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> ModelSet:
    """Changes what does not change the vectors: whether the model still answers, where it is found, what it costs, and
    how much of it jobs may use a minute, all together (0: no limit; jobs under way keep to it within seconds).

    New ``options`` are tried first: a model that gives other vectors than it was registered with raises
    FingerprintError, and nothing is changed. Raises UsageError for what cannot be together.
    """
    if all(value is None for value in (state, ends_on, options, price, requests_per_minute, tokens_per_minute)):
        raise UsageError(
            "nothing to set: give --state, --ends-on, --option, --price, --requests-per-minute or --tokens-per-minute"
        )
    if price is not None and price < 0:
        raise UsageError(f"a price is 0 or more, not {price}")
    with db.connect() as conn:
        was = get_model(conn, model)
        stored = get_fingerprint(conn, was)
        limits_were = get_limits(conn, was)
    wanted = was
    if state is not None or ends_on is not None:
        wanted = replace(wanted, **_lifetime(state or ModelState.ENDING.value, ends_on))
    if stored is None and wanted.state is not ModelState.GONE:
        raise UsageError(
            f"{was.key} was registered as gone and has no fingerprint: register it under a new revision, so that its"
            " vectors can be compared from then on"
        )
    if options is not None:
        wanted = replace(wanted, options={**was.options, **options})
        _require_same_vectors(wanted, stored)
    if price is not None:
        wanted = replace(wanted, price_per_million_tokens=price)
    limits = RateLimits(
        requests_per_minute=_limit(requests_per_minute, limits_were.requests_per_minute),
        tokens_per_minute=_limit(tokens_per_minute, limits_were.tokens_per_minute),
    )
    result = ModelSet(was=was, model=wanted, limits_were=limits_were, limits=limits)
    if result.changed:
        with db.connect() as conn, conn.transaction():
            update_model(conn, wanted)
            set_limits(conn, wanted, limits)
            log_event(conn, "model set", was=was.state.value, became=wanted.state.value, model=was.key)
    return result


def _limit(given: float | None, present: float | None) -> float | None:
    return present if given is None else given or None


def _distance(text: str) -> Distance:
    try:
        return Distance(text)
    except ValueError:
        raise UsageError(f"a distance is one of {', '.join(Distance)}, not {text!r}") from None


def _lifetime(state: str, ends_on: date | None) -> dict[str, Any]:
    try:
        wanted = ModelState(state)
    except ValueError:
        raise UsageError(f"a model's state is one of {', '.join(ModelState)}, not {state!r}") from None
    if ends_on is not None and wanted is ModelState.AVAILABLE:
        wanted = ModelState.ENDING
    if ends_on is not None and wanted is ModelState.GONE:
        raise UsageError("a model that is gone has no day on which it ends: leave --ends-on out")
    return {"state": wanted, "ends_on": ends_on}


def _declare(
    model: str,
    provider: str,
    options: Mapping[str, Any] | None,
    dimensions: int | None,
    distance: Distance,
    normalised: bool | None,
) -> Model:
    if dimensions is None:
        raise UsageError(f"{model} is gone and cannot tell its dimensions: give them, --dimensions")
    name, revision = parse_model_key(model)
    return Model(
        name=name,
        revision=revision,
        provider=provider,
        options=dict(options or {}),
        dimensions=dimensions,
        distance=distance,
        normalised=normalised is not False,
    )


def _require_same(given: Model, there: Model) -> Model:
    """The registered one. Raises ConflictError where what was given would change it; ``model set`` is for that."""
    for what in ("provider", "distance"):
        if getattr(given, what) != getattr(there, what):
            raise ConflictError(
                f"model {there.key} is registered with {what} {getattr(there, what)}, not {getattr(given, what)}:"
                " give this one a revision of its own"
            )
    return there


def _require_same_fingerprint(there: Model, taken: "Fingerprint", kept: bytes | None) -> None:
    """Other options may be another place, or another model under a name that is taken: the vectors tell."""
    if kept is None:
        return
    from embedmig.embedders import Fingerprint, compare_probes

    stored = Fingerprint.from_bytes(kept)
    lowest, tolerance = compare_probes(stored, taken.vectors, taken.compute_type)
    if stored.probe_set == taken.probe_set and not lowest >= tolerance:
        raise ConflictError(
            f"model {there.key} is registered, and what is given here gives other vectors (lowest cosine over the"
            f" probes {lowest:.6f}): give this one a revision of its own"
        )


def _require_same_vectors(model: Model, stored: bytes | None) -> None:
    """Raises FingerprintError unless the model with its new options gives the vectors it was registered with."""
    if model.state is ModelState.GONE or stored is None:
        raise UsageError(
            f"{model.key} has no fingerprint or is gone, so new options cannot be tried: set --state available with"
            " them, or register it under a new revision"
        )
    from embedmig.embedders import Fingerprint, check_fingerprint, load_embedder

    check_fingerprint(model, Fingerprint.from_bytes(stored), load_embedder(model))


def _show(conn: Connection, model: Model) -> ModelShown:
    from embedmig.embedders import Fingerprint

    stored = get_fingerprint(conn, model)
    fingerprint = None if stored is None else Fingerprint.from_bytes(stored)
    return ModelShown(
        model=model,
        id=model.id,
        probes=None if fingerprint is None else len(fingerprint.vectors),
        compute_type=None if fingerprint is None else fingerprint.compute_type,
        tolerance=None if fingerprint is None else fingerprint.tolerance,
        slots=tuple(
            f"{collection.name} {slot.name}"
            for collection in list_collections(conn)
            for slot in list_slots(conn, collection)
            if slot.model.id == model.id
        ),
        limits=get_limits(conn, model),
    )
