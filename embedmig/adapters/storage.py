"""An adapter as bytes: safetensors, with all that says what it was made from and for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from embedmig.adapters.farness import Farness
from embedmig.adapters.intervals import Interval
from embedmig.adapters.kinds import Adapter, Direction, kind_of, make_adapter
from embedmig.adapters.residuals import ResidualStatistics
from embedmig.adapters.trials import CandidateScore
from embedmig.embedders.fingerprint import Fingerprint, lowest_agreement
from embedmig.errors import AdapterUnusableError, UnsupportedError
from embedmig.types import Floats

_FORMAT = "embedmig.adapter/1"
_TENSORS = ("weights_", "bias_", "text_weights_", "idf_")
_FIGURES = ("alpha_", "degrees_of_freedom_", "n_steps_", "divergence_", "n_fit_", "notes_")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What an adapter was made from and for."""

    direction: Direction
    source_model: str
    """name@revision of the vectors it takes."""
    target_model: str
    """name@revision of the space it leads to."""
    n_pairs: int
    seed: int
    code_version: str
    fitted_at: datetime
    scores: tuple[CandidateScore, ...] = ()
    """Of every candidate at selection, held out."""
    reason: str = ""
    notes: tuple[str, ...] = ()
    collection: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredAdapter:
    """A fitted adapter and what belongs to it."""

    adapter: Adapter
    kind: str
    provenance: Provenance
    farness: Farness | None = None
    fingerprints: Mapping[str, Fingerprint | None] = field(default_factory=dict)
    """By name@revision: of both models, as they were registered when the pairs were made; None of a model that was
    registered when it was gone already."""

    @property
    def score(self) -> CandidateScore | None:
        """Its own, held out."""
        return next((score for score in self.provenance.scores if score.kind == self.kind), None)


def dump_adapter(
    adapter: Adapter,
    provenance: Provenance,
    fingerprints: Mapping[str, Fingerprint | None],
    *,
    farness: Farness | None = None,
) -> bytes:
    """One safetensors file. ``fingerprints``: by name@revision, of both models; None of one that has none, because it
    was gone when it was registered.

    Raises AdapterUnusableError when a model is missing among them, UnsupportedError without safetensors.
    """
    tensors = {name: getattr(adapter, name) for name in _TENSORS if getattr(adapter, name, None) is not None}
    if farness is not None:
        tensors |= {"farness.mean": farness.mean, "farness.whitener": farness.whitener}
    kept: dict[str, dict[str, Any] | None] = {}
    for model in (provenance.source_model, provenance.target_model):
        if model not in fingerprints:
            raise AdapterUnusableError(f"an adapter is kept with its models' fingerprints: that of {model} is missing")
        fingerprint = fingerprints[model]
        if fingerprint is None:
            kept[model] = None
            continue
        tensors[f"fingerprint.{model}"] = fingerprint.vectors
        kept[model] = {name: getattr(fingerprint, name) for name in ("compute_type", "tolerance", "probe_set")}
    about = {
        "format": _FORMAT,
        "kind": kind_of(adapter),
        "params": {name: value for name, value in adapter.get_params().items() if name != "prior"},
        "figures": {name: getattr(adapter, name) for name in _FIGURES if hasattr(adapter, name)},
        "farness_threshold": None if farness is None else farness.threshold,
        "fingerprints": kept,
        "provenance": asdict(provenance) | {"fitted_at": provenance.fitted_at.isoformat()},
    }
    contiguous = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in tensors.items()}
    stored: bytes = _safetensors().save(contiguous, metadata={"embedmig": json.dumps(about, sort_keys=True)})
    return stored


def load_adapter(stored: bytes, fingerprints: Mapping[str, Fingerprint | None]) -> StoredAdapter:
    """The adapter, when both its models still are what they were.

    ``fingerprints``: by name@revision, as the models are registered now. Raises AdapterUnusableError when one is
    missing or has changed, or when the bytes are damaged or of a later version; UnsupportedError without safetensors.
    """
    loaded = read_adapter(stored)
    for model, made_with in loaded.fingerprints.items():
        if model not in fingerprints:
            raise AdapterUnusableError(f"this adapter was made for {model}, which is not among the models here")
        _require_same(model, made_with, fingerprints[model])
    return loaded


def read_adapter(stored: bytes) -> StoredAdapter:
    """The same without looking whether it may still be applied: to show it. Raises as ``load_adapter`` does, but for
    the fingerprints."""
    library = _safetensors()
    try:
        about = _read_about(stored)
        tensors: dict[str, Floats] = library.load(stored)
        return _rebuild(about, tensors)
    except AdapterUnusableError:
        raise
    except Exception as error:
        raise AdapterUnusableError(
            f"the stored adapter cannot be read ({type(error).__name__}: {error}): fit it again"
        ) from error


def _read_about(stored: bytes) -> dict[str, Any]:
    """safetensors gives the metadata of files only: eight bytes of length, then a header in JSON."""
    length = int.from_bytes(stored[:8], "little")
    about: dict[str, Any] = json.loads(json.loads(stored[8 : 8 + length])["__metadata__"]["embedmig"])
    if about["format"] != _FORMAT:
        raise AdapterUnusableError(
            f"the stored adapter has the format {about['format']}, this embedmig reads {_FORMAT}: fit it again"
        )
    return about


def _rebuild(about: dict[str, Any], tensors: Mapping[str, Floats]) -> StoredAdapter:
    adapter = make_adapter(about["kind"])
    adapter.set_params(**{name: _as_tuple(value) for name, value in about["params"].items()})
    for name in _TENSORS:
        if name in tensors:
            setattr(adapter, name, tensors[name])
        elif name == "bias_":
            setattr(adapter, name, None)
    for name, value in about["figures"].items():
        setattr(adapter, name, _as_tuple(value))
    threshold = about["farness_threshold"]
    farness = None
    if threshold is not None:
        farness = Farness(mean=tensors["farness.mean"], whitener=tensors["farness.whitener"], threshold=threshold)
    return StoredAdapter(
        adapter=adapter,
        kind=about["kind"],
        provenance=_read_provenance(about["provenance"]),
        farness=farness,
        fingerprints={
            model: None if facts is None else Fingerprint(vectors=tensors[f"fingerprint.{model}"], **facts)
            for model, facts in about["fingerprints"].items()
        },
    )


def _read_provenance(about: dict[str, Any]) -> Provenance:
    scores = tuple(
        CandidateScore(**(one | {"interval": _read_interval(one), "residuals": ResidualStatistics(**one["residuals"])}))
        for one in about["scores"]
    )
    return Provenance(
        **(
            about
            | {
                "direction": Direction(about["direction"]),
                "fitted_at": datetime.fromisoformat(about["fitted_at"]),
                "scores": scores,
                "notes": tuple(about["notes"]),
            }
        )
    )


def _read_interval(score: dict[str, Any]) -> Interval:
    low, high = score["interval"]
    return low, high


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _require_same(model: str, made_with: Fingerprint | None, now: Fingerprint | None) -> None:
    if made_with is None and now is None:
        return
    if made_with is None or now is None:
        had, has = ("none", "one") if made_with is None else ("one", "none")
        raise AdapterUnusableError(
            f"this adapter was made when {model} had {had} of the fingerprints that models are known by, and it has"
            f" {has} now: fit it again, embedmig adapter fit"
        )
    lowest = lowest_agreement(made_with.vectors, now.vectors)
    same_probes = made_with.probe_set == now.probe_set
    if not same_probes or not lowest >= min(made_with.tolerance, now.tolerance):
        raise AdapterUnusableError(
            f"this adapter was made for {model} with another fingerprint than it has now (lowest cosine over the probes"
            f" {lowest:.6f}): it would map into the wrong place. Fit it again: embedmig adapter fit"
        )


def require_storage() -> None:
    """Raises UnsupportedError without safetensors: said before anything is embedded or fitted."""
    _safetensors()


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise UnsupportedError("adapters are stored with safetensors: pip install 'embedmig[adapters]'") from None
    return safetensors.numpy
