"""Searching: the plan is pure, the waiting is done in two thin files, ``searcher`` and ``aio``."""
