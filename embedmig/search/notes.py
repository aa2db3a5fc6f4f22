"""What a searcher notes beside its answers: counts of what was served, and shadow reads where they are on."""

from embedmig.search.counting import ServedCounts
from embedmig.search.hits import Hit
from embedmig.search.plan import SearchPlan, View
from embedmig.search.reporting import Book, Reporter
from embedmig.search.request import SearchRequest
from embedmig.search.sampling import ShadowOptions
from embedmig.search.shadow import Shadows
from embedmig.search.shadow_counts import OVERLAP_AT, Answer


class Notes:
    """Of one searcher. Nothing here waits or raises."""

    def __init__(
        self, url: str, collection: str, *, counted: bool, shadow: ShadowOptions | None, prepared: bool
    ) -> None:
        """``counted``: False where searches are no traffic, such as a look by hand."""
        self._served = ServedCounts() if counted else None
        self._shadows = None if shadow is None else Shadows(url, shadow, prepared=prepared)
        books: list[Book] = [] if self._served is None else [self._served]
        if self._shadows is not None:
            books += [self._shadows.counts, self._shadows.texts]
        self.reporter = Reporter(url, collection, books, None if shadow is None else shadow.after_flush)

    def answered(
        self,
        request: SearchRequest,
        plan: SearchPlan,
        hits: list[Hit],
        embed_s: float,
        statement_s: float,
        *,
        may_be_bridged: bool,
    ) -> None:
        """A search gave these hits. ``may_be_bridged``: rows of its slot may have been mapped from the old model's."""
        if self._served is not None:
            shown, bridged = (len(hits), sum(hit.bridged for hit in hits)) if may_be_bridged else (0, 0)
            self._served.answered(
                plan.choice, plan.view.epoch, embed_s, statement_s, empty=not hits, hits=shown, bridged_hits=bridged
            )
        if self._shadows is not None:
            keys = tuple(hit.key for hit in hits[:OVERLAP_AT])
            self._shadows.offer(request, plan.view, plan.slot, Answer(keys, embed_s, statement_s))
        self.reporter.ensure_running()

    def failed(self, request: SearchRequest, view: View) -> None:
        """The database or the model failed a search."""
        choice = view.choose(request.routing_key)
        if self._served is not None:
            self._served.failed(choice, view.epoch)
        if self._shadows is not None:
            self._shadows.offer(request, view, choice.slot, Answer(None))
        self.reporter.ensure_running()

    def close(self) -> None:
        """Ends what runs beside, and writes the rest."""
        if self._shadows is not None:
            self._shadows.close()
        self.reporter.close()
