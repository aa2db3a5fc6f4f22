"""Loads a .sql file of named queries: ``-- name: claim_chunks`` begins one, comment lines are for the reader."""

from collections.abc import Iterator, Mapping
from importlib.resources import files

from psycopg import sql


class Queries:
    """The named queries of one .sql file that lies beside a module, by name."""

    def __init__(self, package: str, filename: str) -> None:
        """``package``: the folder, as ``__package__`` gives it. An unknown name raises KeyError at use."""
        self.filename = f"{package}/{filename}"
        self._texts = _split(files(package).joinpath(filename).read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> sql.SQL:
        try:
            text = self._texts[name]
        except KeyError:
            raise KeyError(f"no query {name} in {self.filename}") from None
        return sql.SQL(text)

    def fill(self, name: str, parts: Mapping[str, sql.Composable]) -> sql.Composed:
        """The query with its ``{placeholders}`` filled from ``parts``, which may hold more than it names."""
        text = self._texts[name]
        return self[name].format(**{part: value for part, value in parts.items() if "{" + part + "}" in text})

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def _split(text: str) -> dict[str, str]:
    queries: dict[str, list[str]] = {}
    name = None
    for line in text.splitlines():
        if line.startswith("-- name:"):
            name = line.removeprefix("-- name:").strip()
            if name in queries:
                raise ValueError(f"two queries are named {name}")
            queries[name] = []
        # psycopg reads a % in a comment as a parameter, so comments stay behind.
        elif name is not None and not line.lstrip().startswith("--"):
            queries[name].append(line)
    return {name: "\n".join(lines).strip().removesuffix(";") for name, lines in queries.items()}
