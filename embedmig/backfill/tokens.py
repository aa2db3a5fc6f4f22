"""How many tokens a text has: counted on samples, estimated by its length in between."""

from collections.abc import Sequence

from embedmig.embedders import Embedder

_SAMPLE = 16
_EVERY = 8
_SMOOTHING = 0.2
_FIRST_GUESS = 4.0


class TokenCounter:
    """Estimates tokens by characters; the ratio follows samples counted by the model's own tokenizer."""

    def __init__(self, embedder: Embedder) -> None:
        self.truncated = 0
        """Texts met that are longer than the model takes: counted exactly."""
        self._embedder = embedder
        self._characters_a_token = _FIRST_GUESS
        self._calls = 0

    def count(self, texts: Sequence[str]) -> int:
        """Tokens that embedding ``texts`` takes, what the model cuts off left out."""
        if not texts:
            return 0
        if self._calls % _EVERY == 0:
            self._sample(texts)
        self._calls += 1
        limit = self._embedder.max_tokens
        estimates = [len(text) / self._characters_a_token for text in texts]
        if limit is None:
            return round(sum(estimates))
        long = [text for text, estimate in zip(texts, estimates, strict=True) if estimate > 0.7 * limit]
        self.truncated += sum(count > limit for count in self._embedder.count_tokens(long)) if long else 0
        return round(sum(min(estimate, limit) for estimate in estimates))

    def _sample(self, texts: Sequence[str]) -> None:
        step = max(1, len(texts) // _SAMPLE)
        sample = texts[::step][:_SAMPLE]
        tokens = sum(self._embedder.count_tokens(sample))
        if not tokens:
            return
        ratio = sum(map(len, sample)) / tokens
        weight = 1.0 if self._calls == 0 else _SMOOTHING
        self._characters_a_token += weight * (max(ratio, 0.1) - self._characters_a_token)
