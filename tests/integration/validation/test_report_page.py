"""The page for a decision meeting, in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmig.commands import report_page, validate
from embedmig.db import Connection, Database
from embedmig.types import Placement
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.report import ValidationReport
from tests.browser import CHROMIUM, Browser

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

MARKUP = (
    "</p><script>document.title = 'owned'</script>"
    "<img src='http://127.0.0.1:9/x.png' onerror=\"document.title='owned'\">"
)
QUERIES = [
    {
        "query": f"row {number} speaks of word{number % 7} and thing{number % 11}",
        "label": ("how-to", "why", "<b>what</b>")[number % 3],
        "relevant": [str(number), str(number + 7)],
        "weight": 1 + number % 4,
    }
    for number in range(1, 41)
]

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")


@pytest.fixture
def report(migrated: Migrated, db: Database, conn: Connection) -> ValidationReport:
    """Of a corpus and queries with markup in them, judged, labelled, with a cut-off."""
    migrated(120, Placement.COMPANION)
    conn.execute("UPDATE docs SET body = body || %s WHERE id %% 2 = 0", [MARKUP])
    queries = [*QUERIES, {"query": f"{MARKUP} {{{{ 7 * 7 }}}}", "label": "<b>what</b>", "relevant": ["5"]}]
    return validate(db, "docs", queries=queries, options=Options(cutoffs=(0.5,)))


def test_page_holds_what_the_report_says(report: ValidationReport, db: Database, tmp_path: Path) -> None:
    page = report_page(db, "docs", tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{report.agreement.overlap[10].mean:.3f}" in page
    assert "1 - (embedding &lt;=&gt; query) &gt;= 0.5" in page
    assert page.count('class="query"') == min(50, len(report.results))
    assert "&lt;b&gt;what&lt;/b&gt;" in page
    assert "Title 5 The body of row 5" in page
    assert "how-to" in page


def test_page_without_texts_holds_no_word_and_no_key(
    report: ValidationReport, db: Database, conn: Connection, tmp_path: Path
) -> None:
    page = report_page(db, "docs", tmp_path / "report.html", texts=False).read_text(encoding="utf-8")
    for word in ("speaks of", "Title 5", "owned", "thing"):
        assert word not in page
    shown = re.findall(r"<code>(.*?)</code>", page)
    assert shown
    assert all(key.startswith("row ") for key in shown)
    assert ">query 1<" in page


@needs_browser
@pytest.mark.processes
def test_markup_in_corpus_and_queries_is_text_and_nothing_is_fetched(
    report: ValidationReport, db: Database, tmp_path: Path, browser: Browser
) -> None:
    path = report_page(db, "docs", tmp_path / "report.html")
    browser.open(path)
    assert browser.evaluate("document.title") == "docs: old@1 or new@1?"
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.evaluate("document.scripts.length") == 1
    assert "<script>document.title = 'owned'</script>" in browser.evaluate("document.body.textContent")
    assert "{{ 7 * 7 }}" in browser.evaluate("document.body.textContent")
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.complaints == []
    # Should an escape ever be missing, the page still runs no script but its own.
    browser.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert browser.evaluate("window.ran") is None


@needs_browser
@pytest.mark.processes
def test_queries_are_walked_found_and_ordered_by_keyboard(
    report: ValidationReport, db: Database, tmp_path: Path, browser: Browser
) -> None:
    browser.open(report_page(db, "docs", tmp_path / "report.html"))
    opened = "[...document.querySelectorAll('.query[open]')].map(one => one.id).join()"
    assert browser.evaluate(opened) == "q1"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    for key, there in (("j", "q1"), ("j", "q2"), ("j", "q3"), ("k", "q2")):
        browser.press(key)
        assert browser.evaluate(opened) == there
        assert browser.evaluate("document.activeElement.parentElement.id") == there
    browser.press("Enter")
    assert browser.evaluate(opened) == ""
    browser.evaluate("document.getElementById('find').focus()")
    for key in "word3":
        browser.press(key)
    assert browser.evaluate("document.getElementById('find').value") == "word3"
    visible = "document.querySelectorAll('.query:not([hidden])').length"
    found = browser.evaluate(visible)
    assert 0 < found < len(report.results)
    assert browser.evaluate("document.getElementById('count').textContent") == f"{found} of {len(report.results)}"
    browser.evaluate("const order = document.getElementById('order'); order.value = 'loss';"
                     "order.dispatchEvent(new Event('change'))")  # fmt: skip
    gains = browser.evaluate("[...document.querySelectorAll('.query')].map(one => Number(one.dataset.gain))")
    assert gains == sorted(gains)


@needs_browser
@pytest.mark.processes
def test_shared_results_lead_to_each_other(
    report: ValidationReport, db: Database, tmp_path: Path, browser: Browser
) -> None:
    browser.open(report_page(db, "docs", tmp_path / "report.html"))
    links = browser.evaluate(
        "[...document.querySelectorAll('.lists li.shared')].map(row => {"
        " const twin = document.querySelector(row.querySelector('a').getAttribute('href'));"
        " const key = (one) => one.querySelector('code').textContent;"
        " return [key(row), key(twin), row.id, twin.dataset.twin] })"
    )
    assert links
    assert all(mine == other and back == again for mine, other, back, again in links)
    shared = sum(len({f.key for f in one.source} & {f.key for f in one.target}) for one in report.results[:50])
    assert browser.evaluate("document.querySelectorAll('.links path').length") == shared == len(links) / 2


@needs_browser
@pytest.mark.processes
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_page_fits_phone_and_desk_and_can_be_read_in_light_and_dark(
    report: ValidationReport, db: Database, tmp_path: Path, browser: Browser, width: int, dark: bool
) -> None:
    browser.open(report_page(db, "docs", tmp_path / "report.html"), width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    worst = browser.evaluate(CONTRAST)
    assert worst[0] >= 4.5, worst


CONTRAST = """(() => {
  const parse = (text) => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const linear = (v) => v <= 0.03928 * 255 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = (colour) => colour.slice(0, 3).map(linear)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const style = getComputedStyle(node), drawn = style.backgroundImage.match(/rgba?\\([^)]*\\)/);
      const base = parse(style.backgroundColor), over = drawn ? parse(drawn[0]) : [0, 0, 0, 0];
      const colour = [0, 1, 2].map(n => over[n] * over[3] + base[n] * (1 - over[3])).concat(base[3]);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  let worst = [99, ''];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('script, style')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, node.outerHTML.slice(0, 200)];
  }
  return worst;
})()"""
