"""Draws what adapters_lazy.py found: quality against searches served, as an SVG of its own.

    python scripts/bench/adapters_lazy_figure.py docs/lazy.svg

WordNet, exponent 1.0, the bridge that reads texts: lazily in the background and inline, the same spend in key order and
in random order, and the bridge alone.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adapters_data as data

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 60, 20, 230, 50
LOW, HIGH = 0.84, 1.0
FIRST, LAST = 100, 50_000
"""Before the first search stands at the left edge: a logarithm has no zero."""

Point = tuple[float, float]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--corpus", default="wordnet")
    parser.add_argument("--bridge", default="text")
    parser.add_argument("--exponent", type=float, default=1.0)
    given = parser.parse_args()
    kept = json.loads((data.CACHE / "lazy.json").read_text())
    chosen = [
        line for line in kept
        if (line["corpus"], line["bridge"], line["exponent"]) == (given.corpus, given.bridge, given.exponent)
    ]  # fmt: skip
    given.file.write_text(draw(chosen))


def draw(lines: Sequence[dict[str, Any]]) -> str:
    """The whole SVG."""
    background = [line for line in lines if line["mode"] == "background"]
    inline = [line for line in lines if line["mode"] == "inline"]
    start = background[0]["quality"]
    curves = [
        ("inline, the top 20", "#7b3294", points(inline, "quality")),
        ("in the background, the top 10", "#0571b0", points(background, "quality")),
        ("same spend, random order", "#888888", points(background, "quality_random_order")),
        ("same spend, key order", "#bbbbbb", points(background, "quality_key_order")),
        ("bridge alone", "#d7191c", [(FIRST, start), (LAST, start)]),
    ]
    parts = [*axes(), *(part for place, curve in enumerate(curves) for part in draw_curve(place, *curve))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def points(lines: Sequence[dict[str, Any]], what: str) -> list[Point]:
    return [(max(FIRST, line["searches"]), line[what]) for line in lines]


def place_of(point: Point) -> Point:
    """In pixels."""
    along = math.log(point[0] / FIRST) / math.log(LAST / FIRST)
    up = (point[1] - LOW) / (HIGH - LOW)
    return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def axes() -> list[str]:
    parts = []
    for percent in range(84, 101, 2):
        x, y = place_of((FIRST, percent / 100))
        parts.append(f'<line x1="{x:.1f}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for searches in (300, 1_000, 3_000, 10_000, 50_000):
        x, y = place_of((searches, LOW))
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{searches:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">searches served</text>')
    return parts


def draw_curve(place: int, name: str, colour: str, curve: Sequence[Point]) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place_of, curve))
    x, y = WIDTH - RIGHT + 16, TOP + 20 + 20 * place
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<line x1="{x}" x2="{x + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{x + 26}" y="{y}">{name}</text>',
    ]


if __name__ == "__main__":
    main()
