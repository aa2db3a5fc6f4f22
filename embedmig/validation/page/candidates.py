"""Renders compared candidates as one self-contained HTML page; every text in it is escaped, and no script runs."""

from importlib.resources import files

from embedmig.validation.candidates import CandidatesReport
from embedmig.validation.page.drawing import UNIT, scale_around
from embedmig.validation.page.rendering import environment
from embedmig.validation.quality import DECIDING


def render_candidates(report: CandidatesReport) -> str:
    """The page. Raises UsageError when jinja2 is not installed."""
    gains = [variant.gain for one in report.candidates for variant in one.variants if variant.gain is not None]
    judged = any(variant.quality for one in report.candidates for variant in one.variants)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    template = environment().get_template("candidates.html")
    return str(
        template.render(
            report=report,
            style=style,
            judged=judged,
            deciding=DECIDING,
            gain_scale=scale_around(gains, 0.0) if gains else UNIT,
            unit=UNIT,
            is_better=any(
                one.variants[0].gain is not None and one.variants[0].gain.low > 0 for one in report.candidates
            ),
        )
    )
