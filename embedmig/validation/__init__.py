"""May the new index serve? Exact neighbours of both slots, how far they agree, which is better, and a verdict."""
