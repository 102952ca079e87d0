"""Graft: a lab for small open language models."""

__version__ = "0.1.0"
