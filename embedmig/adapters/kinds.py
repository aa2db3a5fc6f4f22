"""The adapters there are, which way each maps, and how any of them is made, fitted and applied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from embedmig.adapters.checks import as_pairs, require_enough, to_unit_rows
from embedmig.adapters.distilled import SelfDistilledAdapter
from embedmig.adapters.linear import LinearAdapter
from embedmig.adapters.procrustes import CentredProcrustesAdapter, ProcrustesAdapter
from embedmig.adapters.ranking import RankingAdapter
from embedmig.adapters.ridge import RidgeAdapter
from embedmig.adapters.text_bridge import TextBridge
from embedmig.errors import AdapterInputError
from embedmig.types import Distance, Floats

Adapter = LinearAdapter | TextBridge
Rows = npt.NDArray[np.int64]


class Direction(StrEnum):
    """What is mapped: new queries into the old space, or stored old vectors into the new."""

    QUERY = "query"
    BRIDGE = "bridge"


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """The same n texts in both spaces: (n, d_old) and (n, d_new).

    Both as documents, with the document prompt, for query adapters too: a map of queries is a map of documents read
    backwards, (q R) . d = q . (d R'), so it serves queries with whatever prompt the new model wants for them.
    """

    old: Floats
    new: Floats
    texts: Sequence[str] | None = None
    """Needed only by the bridge that reads them."""

    def __len__(self) -> int:
        return len(self.new)

    def at(self, rows: Rows) -> "Pairs":
        """Those rows of them."""
        texts = None if self.texts is None else [self.texts[row] for row in rows.tolist()]
        return Pairs(old=self.old[rows], new=self.new[rows], texts=texts)

    def checked(self, *, normalise: bool) -> "Pairs":
        """The same as arrays, of unit length when ``normalise``.

        Raises AdapterInputError on unequal rows, values not finite, under 250 pairs, or another number of texts.
        """
        old, new = as_pairs(self.old, self.new)
        require_enough(len(new))
        if self.texts is not None and len(self.texts) != len(new):
            raise AdapterInputError(f"{len(new)} pairs need {len(new)} texts, given were {len(self.texts)}")
        if normalise:
            old, new = to_unit_rows(old, "the old vectors"), to_unit_rows(new, "the new vectors")
        return Pairs(old=old, new=new, texts=self.texts)


KINDS: dict[Direction, tuple[str, ...]] = {
    Direction.QUERY: ("procrustes", "centred", "ridge", "ranking", "distilled"),
    Direction.BRIDGE: ("procrustes", "ridge", "text"),
}
"""As ties are decided: rotations before what can overfit, the one without a bias first (among bridges ridge has one);
`ranking`, which leaves the rotation only as far as held-out pairs gain, before `distilled`, which was never better on
the corpora that settings were chosen on."""

_BLIND_TO_LENGTHS = ("distilled", "ranking")
"""They learn to order by inner products; an l2 index orders by lengths too."""

_MAKERS: dict[str, Callable[[bool, int], Adapter]] = {
    "procrustes": lambda normalise, seed: ProcrustesAdapter(normalise=normalise),
    "centred": lambda normalise, seed: CentredProcrustesAdapter(normalise=normalise),
    "ridge": lambda normalise, seed: RidgeAdapter(normalise=normalise),
    "distilled": lambda normalise, seed: SelfDistilledAdapter(normalise=normalise),
    "ranking": lambda normalise, seed: RankingAdapter(normalise=normalise, seed=seed),
    "text": lambda normalise, seed: TextBridge(normalise=normalise, seed=seed),
}


def candidates(
    direction: Direction, *, distance: Distance = Distance.COSINE, with_texts: bool = False
) -> tuple[str, ...]:
    """The kinds that can serve ``direction`` under ``distance``, in the order of KINDS; ``text`` only with texts."""
    known = (kind for kind in KINDS[direction] if with_texts or kind != "text")
    return tuple(kind for kind in known if distance is not Distance.L2 or kind not in _BLIND_TO_LENGTHS)


def make_adapter(kind: str, *, normalise: bool = True, seed: int = 0) -> Adapter:
    """A new one, not fitted. Raises AdapterInputError for an unknown kind."""
    if kind not in _MAKERS:
        raise AdapterInputError(f"no adapter is called {kind}: there are {', '.join(_MAKERS)}")
    return _MAKERS[kind](normalise, seed)


def kind_of(adapter: Adapter) -> str:
    """The name that makes one like it. Raises AdapterInputError for a class that has none."""
    for kind in _MAKERS:
        if type(make_adapter(kind)) is type(adapter):
            return kind
    raise AdapterInputError(f"{type(adapter).__name__} is none of the kinds {', '.join(_MAKERS)}")


def fit_adapter(
    kind: str,
    pairs: Pairs,
    direction: Direction,
    *,
    normalise: bool = True,
    seed: int = 0,
    of_a_part: bool = False,
) -> Adapter:
    """One of ``kind``, fitted on ``pairs`` in ``direction``.

    ``of_a_part``: the pairs are what is left beside held-out ones, so their number is neither refused nor warned of.

    Raises AdapterInputError on pairs that cannot be fitted, or when the kind reads texts and there are none.
    """
    adapter = make_adapter(kind, normalise=normalise, seed=seed)
    adapter._of_a_part = of_a_part
    source, target = (pairs.new, pairs.old) if direction is Direction.QUERY else (pairs.old, pairs.new)
    if isinstance(adapter, TextBridge):
        return adapter.fit(source, target, _require_texts(pairs.texts))
    return adapter.fit(source, target)


def apply_adapter(adapter: Adapter, rows: Floats, texts: Sequence[str] | None = None) -> Floats:
    """(n, d_to): ``rows`` mapped, with their texts where the adapter reads them.

    Raises AdapterInputError when it does and there are none.
    """
    if isinstance(adapter, TextBridge):
        return adapter.transform(rows, _require_texts(texts))
    return adapter.transform(rows)


def _require_texts(texts: Sequence[str] | None) -> Sequence[str]:
    if texts is None:
        raise AdapterInputError("this bridge reads the rows' texts: give them with the vectors")
    return texts
