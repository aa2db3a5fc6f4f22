"""What both searchers do without waiting: what they were opened with, the present view, when to look again."""

import logging
import os
import socket
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypedDict, Unpack

import psycopg
from psycopg import errors as pg
from psycopg.rows import dict_row

from embedmig.catalog.serving import Serving
from embedmig.db.connection import checked_url
from embedmig.errors import DatabaseError, EmbedmigError, ProviderError, UsageError
from embedmig.search.adapted import OpenAdapters
from embedmig.search.ahead import Ahead
from embedmig.search.finding import Finder
from embedmig.search.hits import Hit
from embedmig.search.notes import Notes
from embedmig.search.plan import SearchPlan, View, make_view, require_pin_allowed
from embedmig.search.refining import Refinement, RefineMode, Refiner, read_refinement
from embedmig.search.request import SearchRequest
from embedmig.search.routing import Pin, idle_variables, read_pin
from embedmig.search.sampling import ShadowOptions
from embedmig.settings import Settings, load_settings
from embedmig.settings import database_url as configured_url

FAILURES = (DatabaseError, ProviderError)
"""What counts as an error of the slot; the rest is the caller's."""
CALLERS = ("22", "42")
"""Classes of SQLSTATE that a condition of the caller's can bring about: data and syntax."""
NO_PRIVILEGE = "42501"
NO_COLUMN = "42703"

ATTEMPTS = 20
"""How often one search is sent before it gives up: anew each time the route changed or a connection was lost."""
READ_AGAIN_S = 60.0
"""How old a reading of the catalog may grow. What must be exact rides in the statement; this is for indexes, filters
and states of models. A pinned process reports itself as often."""

GONE = (pg.UndefinedColumn, pg.UndefinedTable)
"""A step of the migration may have removed or renamed it: the epoch tells."""
OUTDATED = (pg.FeatureNotSupported, pg.InvalidSqlStatementName, pg.DuplicatePreparedStatement)
"""What a connection has prepared does not fit any more (a column changed its type) or is not there (a pooler, DISCARD
ALL): another connection may do."""

_log = logging.getLogger(__name__)


class ConnectOptions(TypedDict, total=False):
    """The keywords that both searchers connect with."""

    database_url: str | None
    """Without it, the settings name the server."""
    settings: Settings | None
    """Without it, embedmig.toml and the environment."""
    max_connections: int
    """8 by default. Further searches wait for a free one."""
    timeout_s: float
    """How long a search waits for a free connection: 10 by default."""
    prepared: bool
    """False for a pooler that cannot keep prepared statements."""
    shadow: ShadowOptions | None
    """Asks the other slot of a migration too, for some requests, beside the answers: see ``ShadowOptions``."""
    counted: bool
    """False where searches are no traffic, such as a look by hand: they are in no count of what was served, and a pin
    of the process holds up no verb."""
    refine: RefineMode | None
    """While the slot holds bridged rows: None has those that searches show embedded first by whoever runs ``reembed``;
    "background" embeds them in this process too, beside the searches; "inline" before it answers, and ranks anew."""
    refine_ms: float
    """inline: how long a search may wait for that; 200 by default. Then it answers with what it has."""
    refine_top: int
    """inline: so many candidates are to be true; 20 by default."""
    load_ahead: bool
    """False where there is no memory for two models: that of the other slot is loaded by the first query that needs it,
    and not, once that slot may serve, ahead of it."""


class SearcherBase:
    """The state of a searcher. A view is replaced whole, so that threads need no lock."""

    def __init__(self, collection: str, **options: Unpack[ConnectOptions]) -> None:
        self.collection = collection
        self._settings = options.get("settings") or load_settings()
        self._url = checked_url(options.get("database_url") or configured_url(self._settings))
        self._max_connections = options.get("max_connections", 8)
        self._prepared = options.get("prepared", True)
        self._counted = options.get("counted", True)
        self._timeout_s = options.get("timeout_s", 10.0)
        self._notes = Notes(
            self._url,
            collection,
            counted=self._counted,
            shadow=options.get("shadow"),
            prepared=self._prepared,
        )
        self._refinement: Refinement = read_refinement(**_only(options, "refine", "refine_ms", "refine_top"))
        in_background = self._refinement.mode == "background"
        self._finder = Finder(self._url, collection, embeds=in_background) if self._counted else None
        self._refiner = Refiner(self._url, collection) if self._refinement.mode == "inline" else None
        # For those who do not close; at the end of the process too.
        self._end_of_notes = weakref.finalize(self, _close_all, self._refiner, self._finder, self._notes)
        self._ahead = Ahead(self._url) if options.get("load_ahead", True) else None
        self._adapters = OpenAdapters()
        self._embeds = False
        self._view: View
        self._pin: Pin | None = None
        self._due_s = 0.0

    def _pool_options(self) -> dict[str, Any]:
        connection = {
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 10,
            "fallback_application_name": "embedmig",
            "prepare_threshold": 5 if self._prepared else None,
        }
        return {
            "conninfo": self._url,
            "kwargs": connection,
            "min_size": 1,
            "max_size": self._max_connections,
            "timeout": self._timeout_s,
        }

    def _begin(self, serving: Serving) -> None:
        """Takes the first view. Raises RefusedError when this process may not be pinned as its environment says."""
        for idle in idle_variables(os.environ, serving.known):
            _log.warning("%s", idle)
        self._pin = read_pin(self._settings.active_index, os.environ, self.collection, serving.group_size)
        self._view = self._checked_view(serving, None)
        # A pinned process reports itself at its first search.
        self._due_s = time.monotonic() + (READ_AGAIN_S if self._pin is None else 0)

    def _adopt(self, serving: Serving) -> View:
        """The view of a fresh reading, from now on everybody's."""
        present = self._view
        if serving != present.serving:
            self._view = present = self._checked_view(serving, present)
            self._look_ahead()
        return present

    def _has_embedded(self) -> None:
        """Callers who bring their vectors need no model of ours; this one gives texts."""
        if not self._embeds:
            self._embeds = True
            self._look_ahead()

    def _look_ahead(self) -> None:
        if self._embeds and self._pin is None and self._ahead is not None:
            self._ahead.look(self._view.serving)

    def _checked_view(self, serving: Serving, before: View | None) -> View:
        view = make_view(serving, self._pin)
        if view.pinned is None:
            return view
        pin, slot = view.pinned
        if before is None or before.pinned is None or before.pinned[1].id != slot.id:
            require_pin_allowed(view)
        no_migration = serving.migration is None and pin.value in ("old", "new")
        if no_migration and (before is None or before.serving.migration is not None):
            _log.warning(
                "%s=%s, but %s has no open migration: both mean its only slot, %s",
                pin.variable, pin.value, self.collection, slot.name,
            )  # fmt: skip
        return view

    def _widened(self, request: SearchRequest) -> SearchRequest:
        """With as many candidates as are to be refined."""
        if not self._view.serving.bridged or request.k >= self._refinement.top:
            return request
        return request._replace(k=self._refinement.top)

    def _ask_to_refine(self, search_plan: SearchPlan, hits: Sequence[Hit]) -> "Future[bool] | None":
        """None where nothing is to be waited for; else it tells whether another look is worth it."""
        assert self._refiner is not None
        top, collection = hits[: self._refinement.top], search_plan.view.serving.collection
        return self._refiner.ask(collection, search_plan.slot, top, self._refinement.wait_s)

    def _answered(
        self, request: SearchRequest, search_plan: SearchPlan, hits: list[Hit], embed_s: float, statement_s: float
    ) -> list[Hit]:
        """What is shown of what was found, noted."""
        shown, serving = hits[: request.k], search_plan.view.serving
        may_be_bridged = search_plan.choice.slot.id in serving.bridged
        self._notes.answered(request, search_plan, shown, embed_s, statement_s, may_be_bridged=may_be_bridged)
        if may_be_bridged and self._finder is not None:
            self._finder.note(serving.collection, search_plan.slot, shown)
        return shown

    def _pin_report(self) -> dict[str, Any] | None:
        """The values of ``report_pin``; None when nothing pins this process, or it serves nobody."""
        view = self._view
        if view.pinned is None or not self._counted:
            return None
        pin, slot = view.pinned
        return {
            "collection_id": view.serving.collection.id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pin": pin.value,
            "slot_id": slot.id,
            "epoch": view.epoch,
        }

    def _may_reconnect(self, connection: psycopg.BaseConnection[Any], error: psycopg.Error, attempt: int) -> bool:
        """Whether another connection may answer where this one failed. A search writes nothing and can be repeated; as
        often as there are connections, since all may have been lost at once."""
        lost = connection.closed or isinstance(error, OUTDATED)
        return lost and attempt <= self._max_connections

    def _not_reported(self, error: Exception) -> None:
        """A search goes on without its report: on a standby nothing can be written."""
        _log.warning("%s: could not report the pin of this process: %s", self.collection, error)

    def _failed(self, request: SearchRequest, error: EmbedmigError) -> None:
        """Counts a search that the database or the model failed. Raises UsageError instead where it was the caller's
        own condition, or a column asked for, that does not run."""
        if (blamed := _of_the_callers(request, error)) is not None:
            raise UsageError(f"{blamed} does not run: {str(error).removeprefix('the database: ')}") from error
        self._notes.failed(request, self._view)

    def _give_up(self) -> DatabaseError:
        return DatabaseError(
            f"{self.collection}: the route changed, or a connection was lost, during each of {ATTEMPTS} attempts of one"
            " search: try again"
        )


def _of_the_callers(request: SearchRequest, error: EmbedmigError) -> str | None:
    """What of the request the database did not take; None where the request is not to blame."""
    state = error.sqlstate if isinstance(error, DatabaseError) else None
    if state is None or state == NO_PRIVILEGE or not state.startswith(CALLERS):
        return None
    if request.where is not None:
        return f"the filter {str(request.where)!r}"
    return f"a search with columns {', '.join(request.columns)}" if request.columns and state == NO_COLUMN else None


class _Closable(Protocol):
    def close(self) -> None: ...


def _close_all(*parts: _Closable | None) -> None:
    for part in parts:
        if part is not None:
            part.close()


def _only(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}
