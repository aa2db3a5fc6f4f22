"""Tells a list of steps at the terminal, once each: its meaning, the command, what came of it, how long it took."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a story. ``run`` does it and gives the lines that tell what came of it; it can be repeated."""

    name: str
    title: str
    meaning: str
    command: str | None
    """What one types for the same on a table of one's own."""
    run: Callable[["Diary"], Sequence[str]]


@dataclass
class Diary:
    """Which steps are done, how long each took, and figures to be told at the end; kept in a file, so that an
    interrupted story goes on."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Diary":
        """Reads what was kept, or begins anew."""
        if not path.is_file():
            return cls(path)
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, seconds=kept["seconds"], figures=kept["figures"])

    def note(self, name: str, seconds: float) -> None:
        """A step is done."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps({"seconds": self.seconds, "figures": self.figures}), encoding="utf-8")
        unfinished.replace(self.path)


def tell(console: Console, steps: Sequence[Step], diary: Diary, *, wait: Callable[[], None]) -> None:
    """Runs the steps that are not done yet, in order; ``wait`` is called between two."""
    for number, step in enumerate(steps, start=1):
        if step.name in diary.seconds:
            console.print(f"[dim]{number:>2}  {escape(step.title)}: done before[/dim]")
            continue
        console.print()
        console.print(
            Panel(escape(step.meaning), title=f"[bold]{number}  {escape(step.title)}[/bold]", title_align="left")
        )
        if step.command is not None:
            console.print(f"   [bold cyan]$ {escape(step.command)}[/bold cyan]", soft_wrap=True)
        began = time.monotonic()
        for line in step.run(diary):
            console.print(f"   {escape(line)}", soft_wrap=True)
        seconds = time.monotonic() - began
        diary.note(step.name, seconds)
        console.print(f"   [dim]{seconds:.1f} s[/dim]")
        if step is not steps[-1]:
            wait()
