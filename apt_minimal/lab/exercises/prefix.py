"""Lesson 03: prefixes."""

__all__ = []
