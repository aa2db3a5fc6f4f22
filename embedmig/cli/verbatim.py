"""Lines that are to be copied: no wrapping, no markup."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def verbatim(lines: list[str]) -> "Text":
    """The lines as they are, for Context.show: SQL and file names broken at the terminal's width would not run."""
    from rich.text import Text

    return Text("\n".join(lines))
