"""The demo: a corpus from the standard library's docstrings, labelled queries and two real models."""
