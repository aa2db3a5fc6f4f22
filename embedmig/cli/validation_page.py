"""A validation report at the terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.table import Table

    from embedmig.validation.queries import QueryCounts
    from embedmig.validation.report import PipelineResult, ValidationReport


def describe_plan(detectable: "Mapping[str, float]", queries: int) -> str:
    """What so many queries can show, said before they are asked."""
    least = ", ".join(f"{value:.3f} in {measure}" for measure, value in detectable.items())
    return f"{queries:,} queries are likely to show a true difference of {least}; a smaller one may stay hidden"


def render_report(report: "ValidationReport", worst: int) -> "RenderableType":
    """The verdict, what was asked, measures, strata, indexes, cut-offs and the ``worst`` queries."""
    from rich.console import Group
    from rich.markup import escape

    colour = "green" if report.passed else "yellow" if report.verdict.outcome.value == "investigate" else "red"
    lines: list[RenderableType] = [
        f"[bold {colour}]{escape(report.verdict.sentence)}[/]",
        *(f"  {escape(reason)}" for reason in report.verdict.reasons),
        "",
        escape(_what_was_asked(report)),
        "",
        _measures(report),
    ]
    if report.pipeline is not None:
        lines += ["", _pipeline(report.pipeline)]
    if report.strata:
        lines += ["", _strata(report)]
    lines += [escape(line) for line in (*_indexes(report), *_cutoffs(report))]
    if worst and report.results:
        lines += ["", _changed(report, worst)]
    lines.append(f"report {report.id}, {sum(report.seconds.values()):.1f} s")
    return Group(*lines)


def describe_queries(queries: "QueryCounts") -> str:
    """How many there were, where from, and what was left out."""
    left_out = [
        f"{count:,} {what}"
        for count, what in (
            (queries.repeated, "repeated"),
            (queries.empty, "empty"),
            (queries.unknown_judgments, "judgments of rows that are not there"),
        )
        if count
    ]
    told = f"{queries.distinct:,} queries from {queries.origin}, {queries.judged:,} of them judged"
    return told + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _what_was_asked(report: "ValidationReport") -> str:
    queries, rows = report.queries, report.rows
    lines = [
        f"{report.source.slot} ({report.source.model}) against {report.target.slot} ({report.target.model}),"
        f" exact, over {rows.judged:,} rows that both hold",
        describe_queries(queries),
        *queries.notes,
    ]
    if (looked := report.sequential) is not None:
        end = "and the verdict stood" if looked.decided else "and the verdict still does not stand"
        lines.append(
            f"looked {len(looked.looks)} times: after {looked.looks[-1].queries:,} of {looked.available:,} queries,"
            f" in random order, {end}; intervals hold at every look"
        )
    if report.by_document:
        lines.insert(1, f"rows of one {report.by_document} taken together")
    return "\n".join(lines)


def _measures(report: "ValidationReport") -> "Table":
    from rich.table import Table

    found = report.agreement
    table = Table("", "old", "new", "mean", f"{_confidence(report):.0%} interval", box=None, header_style="bold")
    for k, estimate in found.overlap.items():
        table.add_row(f"overlap@{k}", "", "", f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}")
    others = [(f"Jaccard@{k}", estimate) for k, estimate in found.jaccard.items() if k == 10]
    others.append((f"rank-biased overlap (p {found.rbo_p:g})", found.rank_biased_overlap))
    if found.kendall_tau is not None:
        others.append(("Kendall's tau, common items", found.kendall_tau))
    for name, estimate in others:
        table.add_row(name, "", "", f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}")
    test = "randomisation p" if report.sequential is None else "p at every look"
    for one in report.quality:
        gap = one.difference
        table.add_row(
            one.measure,
            f"{one.source.mean:.3f}",
            f"{one.target.mean:.3f}",
            f"{gap.mean:+.3f}",
            f"{gap.low:+.3f} to {gap.high:+.3f}  ({test} {one.p_value:.4f}, d {one.effect_size:+.2f})",
        )
    for measure, estimate in report.target_quality_alone.items():
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
        table.add_row(measure, "gone", f"{estimate.mean:.3f}", f"{estimate.mean:.3f}", interval)
    return table


def _pipeline(own: "PipelineResult") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(f"after {escape(own.name)}", "old", "new", "mean", "interval", box=None, header_style="bold")
    overlap = own.agreement.overlap[10]
    table.add_row("overlap@10", "", "", f"{overlap.mean:.3f}", f"{overlap.low:.3f} to {overlap.high:.3f}")
    for one in own.quality:
        gap = one.difference
        interval = f"{gap.low:+.3f} to {gap.high:+.3f}"
        old, new = f"{one.source.mean:.3f}", f"{one.target.mean:.3f}"
        table.add_row(one.measure, old, new, f"{gap.mean:+.3f}", interval)
    table.add_row("p50 ms", f"{own.source_p50_ms:.1f}", f"{own.target_p50_ms:.1f}", "", "")
    if own.source_empty or own.target_empty:
        table.add_row("queries without a result", f"{own.source_empty:,}", f"{own.target_empty:,}", "", "")
    return table


def _strata(report: "ValidationReport") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("label", "queries", "weight", "overlap@10", "nDCG@10 change", "", box=None, header_style="bold")
    for stratum in report.strata:
        gap = stratum.quality
        table.add_row(
            escape(stratum.label),
            f"{stratum.queries:,}",
            f"{stratum.weight_share:.0%}",
            f"{stratum.overlap.mean:.3f} ({stratum.overlap.low:.3f} to {stratum.overlap.high:.3f})",
            "" if gap is None else f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})",
            "" if stratum.decides else "too few to decide",
        )
    return table


def _indexes(report: "ValidationReport") -> list[str]:
    lines = []
    for side in (report.source, report.target):
        if side.index is not None:
            check = side.index
            lines.append(
                f"index {check.index} of {side.slot}: recall@10 against exact {check.recall.mean:.3f},"
                f" p50 {check.p50_ms:.1f} ms, p95 {check.p95_ms:.1f} ms"
            )
            points = ", ".join(f"{point.breadth}: {point.recall:.3f} ({point.p50_ms:.1f} ms)" for point in check.curve)
            lines.append(f"  by {check.setting}: {points}")
    for name, breadth in (("ef_search", report.ef_search_to_keep_recall), ("probes", report.probes_to_keep_recall)):
        if breadth is not None:
            lines.append(f"{name} {breadth} keeps today's recall")
    return ["", *lines] if lines else []


def _cutoffs(report: "ValidationReport") -> list[str]:
    sides = [(side.slot, side.band) for side in (report.source, report.target)]
    lines = [
        f"similarities of {slot}: nearest row {band.nearest[0]:.3f} to {band.nearest[-1]:.3f}"
        f" (median {band.nearest[2]:.3f}), first ten {band.shown[0]:.3f} to {band.shown[-1]:.3f}"
        for slot, band in sides
    ]
    for advice in report.cutoffs:
        cutoff = advice.cutoff
        if cutoff.equivalent is None:
            lines.append(f"cut-off {cutoff.given:g}: {cutoff.note}")
            continue
        unchanged = "nothing" if cutoff.kept_unchanged is None else f"{cutoff.kept_unchanged:.0%}"
        lines.append(
            f"cut-off {cutoff.given:g} becomes {cutoff.equivalent:.4g} ({cutoff.low:.4g} to {cutoff.high:.4g}): the"
            f" same {cutoff.keeps}, {cutoff.kept:.0%}; left as it is it would be {unchanged}"
        )
        lines += [f"  - {advice.was}", f"  + {advice.becomes}"]
    return ["", *lines]


def _changed(report: "ValidationReport", worst: int) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("changed most", "overlap@10", "entered", "left", box=None, header_style="bold")
    for result in report.results[:worst]:
        before, after = [found.key for found in result.source], [found.key for found in result.target]
        entered = [", ".join(key) for key in after if key not in before]
        left = [", ".join(key) for key in before if key not in after]
        table.add_row(escape(result.text[:60]), f"{result.overlap:.1f}", escape(_few(entered)), escape(_few(left)))
    return table


def _few(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown


def _confidence(report: "ValidationReport") -> float:
    return report.agreement.rank_biased_overlap.confidence
