"""Embedding models behind one protocol: providers, the registry, fingerprints. Nothing here knows the database."""

from embedmig.embedders.checks import validate_vectors
from embedmig.embedders.fingerprint import Fingerprint, check_fingerprint, compare_probes, take_fingerprint
from embedmig.embedders.limits import LocalRateLimiter, RateLimiter
from embedmig.embedders.loaded import LoadedEmbedder
from embedmig.embedders.probing import probe_model
from embedmig.embedders.protocol import Embedder, EmbedderFactory
from embedmig.embedders.registry import ENTRY_POINT_GROUP, forget_embedders, known_providers, load_embedder
from embedmig.embedders.usage import Usage

__all__ = [
    "ENTRY_POINT_GROUP",
    "Embedder",
    "EmbedderFactory",
    "Fingerprint",
    "LoadedEmbedder",
    "LocalRateLimiter",
    "RateLimiter",
    "Usage",
    "check_fingerprint",
    "compare_probes",
    "forget_embedders",
    "known_providers",
    "load_embedder",
    "probe_model",
    "take_fingerprint",
    "validate_vectors",
]
