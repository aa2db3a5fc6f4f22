"""Reports as pages for a decision meeting."""

from embedmig.validation.page.candidates import render_candidates
from embedmig.validation.page.rendering import render_page

__all__ = ["render_candidates", "render_page"]
