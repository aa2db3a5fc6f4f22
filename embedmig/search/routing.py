"""Which slot answers: the stored route by a hash of the caller's key, or the environment's pin. Pure."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embedmig.catalog.serving import Serving
from embedmig.errors import NotFoundError, SettingsError, UsageError
from embedmig.types import Slot

VARIABLE = "EMBEDMIG_ACTIVE_INDEX"
BUCKETS = 10_000


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What the environment says: ``old``, ``new`` or a slot's name."""

    value: str
    variable: str
    """The variable that says so; ``active_index`` where embedmig.toml does."""


class Choice(NamedTuple):
    """The slot that answers. ``bucket``: where the routing key falls, 0 to 9,999; None where no key decided."""

    slot: Slot
    pin: Pin | None
    bucket: int | None


def routing_bucket(key: str) -> int:
    """0 to 9,999: the first 4 bytes of md5(key), unsigned, mod 10,000; in SQL (the database's encoding being UTF-8)
    ``('x' || left(md5(key), 8))::bit(32)::bigint % 10000``."""
    digest = hashlib.md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % BUCKETS


def variable_of(collection: str) -> str:
    """The variable that pins one collection: its name in capitals, ``_`` for all that is no letter or digit."""
    return f"{VARIABLE}_{re.sub('[^A-Z0-9]', '_', collection.upper())}"


def idle_variables(environment: Mapping[str, str], collections: Iterable[str]) -> list[str]:
    """A sentence for each variable that is to pin one collection and names none of these."""
    known = [variable_of(name) for name in collections]
    there_are = f"the variables that would are {', '.join(known)}" if known else "no collection is registered"
    return [
        f"{name} pins nothing: no collection goes by that name; {there_are}"
        for name in sorted(environment)
        if name.startswith(VARIABLE + "_") and name not in known
    ]


def read_pin(active_index: str, environment: Mapping[str, str], collection: str, group_size: int) -> Pin | None:
    """The pin on a collection, None to follow the stored route. ``active_index``: the setting for all collections.

    The collection's own variable wins. Raises SettingsError when a member of a larger group is pinned by anything but
    ``old`` and ``new`` for all: its members would be answered from slots of different migrations.
    """
    own = variable_of(collection)
    variable = next((name for name in (own, VARIABLE) if name in environment), "active_index")
    value = environment.get(own, active_index).strip()
    word = value.lower()
    if word in ("auto", ""):
        return None
    if group_size > 1 and (variable == own or word not in ("old", "new")):
        raise SettingsError(
            f"{variable}={value}: {collection} is one of {group_size} collections that answer together, and all of them"
            f" are pinned by {VARIABLE}=old or {VARIABLE}=new"
        )
    return Pin(value=word if word in ("old", "new") else value, variable=variable)


def pinned_slot(serving: Serving, pin: Pin) -> Slot:
    """The slot that a pin names. With no migration open, ``old`` and ``new`` both mean the only slot.

    Raises NotFoundError when there is no such slot.
    """
    if pin.value in ("old", "new"):
        return serving.target if pin.value == "new" and serving.target is not None else serving.source
    for slot in serving.slots:
        if slot.name == pin.value:
            return slot
    names = [slot.name for slot in serving.slots]
    raise NotFoundError(
        "slot", f"{pin.value} of {serving.collection.name}", known=names, hint=f"{pin.variable} names it"
    )


def choose_slot(serving: Serving, pinned: tuple[Pin, Slot] | None, routing_key: str | None) -> Choice:
    """The slot for a request. Without a key, the source serves below a share of 100 and the target at 100, so that
    a caller who embeds for himself knows which model to take."""
    if pinned is not None:
        return Choice(pinned[1], pinned[0], None)
    target, share_bp = serving.target, serving.route.share_bp
    if target is None:
        return Choice(serving.source, None, None)
    if routing_key is None:
        return Choice(target if share_bp >= BUCKETS else serving.source, None, None)
    bucket = routing_bucket(routing_key)
    return Choice(target if bucket < share_bp else serving.source, None, bucket)


def explain_choice(serving: Serving, choice: Choice) -> str:
    """Why it is that slot, in a sentence."""
    route = serving.route
    stored = f"the stored route gives the target {route.percent:g} % since {route.changed_at:%Y-%m-%d %H:%M:%S %Z}"
    if choice.pin is not None:
        only = ", the only slot: no migration is open" if serving.target is None else ""
        return (
            f"{choice.pin.variable}={choice.pin.value} pins this process to it{only}; {stored}, and does not count here"
        )
    if serving.target is None:
        return "no migration is open: it is the only slot"
    if choice.bucket is None:
        return f"{stored}, and no routing key was given: the source serves below 100, the target at 100"
    side = "in" if choice.bucket < route.share_bp else "outside"
    return f"{stored}: the routing key falls at {choice.bucket / 100:.2f}, {side} that share"


def require_routing_key(key: object) -> str | None:
    """Raises UsageError unless it is text or None: other types print differently from one language to the next."""
    if key is None or isinstance(key, str):
        return key
    raise UsageError(f"a routing key is text, such as a user's id, not {type(key).__name__}: give str(key)")
