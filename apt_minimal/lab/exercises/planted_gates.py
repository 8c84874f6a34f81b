"""Lesson 06: planted gates."""

__all__ = []
