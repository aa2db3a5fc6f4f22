"""Keeping the model libraries' progress bars and advice off our users' terminals."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_NOISY = ("transformers", "sentence_transformers", "huggingface_hub")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it transformers and its kin show neither bars nor warnings, only errors; afterwards all is as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging as bars

        had_bars = bars.is_progress_bar_enabled()
        levels = {name: logging.getLogger(name).level for name in _NOISY}
        bars.disable_progress_bar()  # type: ignore[no-untyped-call]
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if had_bars:
                bars.enable_progress_bar()  # type: ignore[no-untyped-call]
