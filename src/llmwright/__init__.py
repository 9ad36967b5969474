"""LLMwright: the integrated development environment for language models."""

__version__ = "0.1.0"
