"""Lesson 02: BERT's encoder."""

__all__ = []
