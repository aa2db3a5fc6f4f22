"""A report as one page for a decision meeting."""

from embedmig.validation.page.rendering import render_page

__all__ = ["render_page"]
