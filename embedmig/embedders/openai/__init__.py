"""The provider ``openai``: whatever speaks OpenAI's embeddings endpoint, here or far away."""

from embedmig.embedders.openai.embedder import OpenAIEmbedder

__all__ = ["OpenAIEmbedder"]
