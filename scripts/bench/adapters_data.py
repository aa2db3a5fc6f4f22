"""What the adapter benchmarks run on: four corpora, five models, embeddings kept between runs.

Embedding all of it takes some 20 minutes on one core, once: `.embedmig/bench/adapters` keeps the vectors, keyed by
the model and the texts.
"""

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedmig.embedders.quiet import quiet_libraries
from embedmig.types import Floats

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".embedmig" / "bench" / "adapters"
CRANFIELD = ROOT.parent / "shared" / "data" / "cranfield"
WORDNET = Path("/usr/share/wordnet")
SEED = 20240

OLD_MODELS = ("static", "perturbed", "int8", "first3")
NEW_MODEL = "minilm"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents, queries with judgments, and texts to fit on that are none of the documents (or none at all)."""

    name: str
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[Mapping[int, float], ...]
    """For each query: position of a document -> gain."""
    fitting: tuple[str, ...] = ()
    """Empty: fit on the documents by cross-fitting."""
    key_order: tuple[int, ...] = ()
    """Positions of the documents as their source orders them; empty: as they stand."""


def read_cranfield() -> Corpus:
    """1,398 abstracts, 225 real queries, graded judgments."""
    documents = [json.loads(line) for line in (CRANFIELD / "docs.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (CRANFIELD / "queries.jsonl").read_text().splitlines()]
    position = {document["id"]: at for at, document in enumerate(documents)}
    gains: dict[int, dict[int, float]] = defaultdict(dict)
    with (CRANFIELD / "qrels.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["relevance"]) > 0 and int(row["doc_id"]) in position:
                gains[int(row["query_id"])][position[int(row["doc_id"])]] = float(row["relevance"])
    judged = [query for query in queries if gains[query["id"]]]
    return Corpus(
        name="cranfield",
        documents=tuple(f"{document['title']}\n\n{document['text']}" for document in documents),
        queries=tuple(query["text"] for query in judged),
        relevant=tuple(gains[query["id"]] for query in judged),
    )


def read_wordnet(part: str, *, documents: int, queries: int, fitting: int) -> Corpus:
    """Glosses; a query is a lemma, relevant is every gloss of the corpus that explains it.

    ``part``: ``test`` or ``development``, which share no synset: settings are chosen on the second.
    """
    synsets = _read_synsets()
    order = np.random.default_rng(SEED).permutation(len(synsets))
    shuffled = [synsets[at] for at in (order if part == "test" else order[::-1])]
    corpus, rest = shuffled[:documents], shuffled[documents : documents + fitting]
    explains: dict[str, dict[int, float]] = defaultdict(dict)
    for at, (lemmas, _) in enumerate(corpus):
        for lemma in lemmas:
            explains[lemma][at] = 1.0
    asked = list(dict.fromkeys(lemmas[0] for lemmas, _ in corpus))[:queries]
    return Corpus(
        name="wordnet" if part == "test" else "wordnet-dev",
        documents=tuple(gloss for _, gloss in corpus),
        queries=tuple(asked),
        relevant=tuple(explains[lemma] for lemma in asked),
        fitting=tuple(gloss for _, gloss in rest),
        key_order=tuple(np.argsort((order if part == "test" else order[::-1])[:documents]).tolist()),
    )


def _read_synsets() -> list[tuple[list[str], str]]:
    """(lemmas, definition) of every synset, each definition once; the examples are cut, for they hold the lemma."""
    found: dict[str, list[str]] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (WORDNET / f"data.{part}").read_text().splitlines():
            if line.startswith(" "):  # the licence
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            lemmas = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
            definition = re.sub(r';?\s*".*$', "", gloss).strip()
            if definition:
                found.setdefault(definition, []).extend(lemmas)
    return [(lemmas, definition) for definition, lemmas in found.items()]


def read_docstrings() -> Corpus:
    """The standard library's docstrings; a query is a first sentence, which is cut from its document."""
    from embedmig.demo.corpus import collect_documents

    documents, queries, relevant = [], [], []
    for document in collect_documents():
        first, _, rest = document.text.partition("\n\n")
        if len(rest.split()) >= 15 and len(first.split()) >= 4:
            relevant.append({len(documents): 1.0})
            queries.append(" ".join(first.split()))
            documents.append(rest)
        else:
            documents.append(document.text)
    return Corpus(name="docstrings", documents=tuple(documents), queries=tuple(queries), relevant=tuple(relevant))


def embed(model: str, texts: Sequence[str]) -> Floats:
    """(n, d) unit vectors by one of OLD_MODELS or NEW_MODEL, read from the cache or made and kept there."""
    digest = hashlib.sha256("\x00".join(texts).encode()).hexdigest()[:16]
    path = CACHE / f"{model}-{digest}.npy"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with quiet_libraries():
            vectors = _LOADERS[model]().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        unfinished = path.with_suffix(".partial.npy")
        np.save(unfinished, np.asarray(vectors, dtype=np.float32))
        unfinished.rename(path)
    loaded: Floats = np.load(path)
    return loaded


def _minilm() -> Any:
    from sentence_transformers import SentenceTransformer

    from embedmig.demo.models import minilm_path

    return SentenceTransformer(str(minilm_path()), device="cpu", local_files_only=True)


def _static() -> Any:
    from sentence_transformers import SentenceTransformer

    from embedmig.demo.models import ensure_static_model

    return SentenceTransformer(str(ensure_static_model(ROOT / ".embedmig" / "models")), device="cpu")


def _perturbed() -> Any:
    """A version bump: to every weight matrix noise of a tenth of its own spread is added."""
    import torch

    model = _minilm()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.10 * parameter.std() * noise)
    return model


def _int8() -> Any:
    """The same weights with int8 linear layers: what a cheaper server would run."""
    import torch

    model = _minilm()
    model[0].model = torch.ao.quantization.quantize_dynamic(model[0].model, {torch.nn.Linear}, dtype=torch.qint8)
    return model


def _first3() -> Any:
    """The first 3 of 6 layers: an old model that is nearly broken."""
    model = _minilm()
    model[0].model.encoder.layer = model[0].model.encoder.layer[:3]
    return model


_LOADERS: dict[str, Callable[[], Any]] = {
    "minilm": _minilm,
    "static": _static,
    "perturbed": _perturbed,
    "int8": _int8,
    "first3": _first3,
}

CORPORA: dict[str, Callable[[], Corpus]] = {
    "cranfield": read_cranfield,
    "wordnet": lambda: read_wordnet("test", documents=20_000, queries=2_000, fitting=10_000),
    "wordnet-dev": lambda: read_wordnet("development", documents=5_000, queries=1_000, fitting=5_000),
    "docstrings": read_docstrings,
}


def embed_everything() -> None:
    """Fills the cache."""
    for name, read in CORPORA.items():
        corpus = read()
        for model in (NEW_MODEL, *OLD_MODELS):
            for texts in (corpus.documents, corpus.queries, corpus.fitting):
                if texts:
                    print(name, model, embed(model, texts).shape, flush=True)


if __name__ == "__main__":
    embed_everything()
