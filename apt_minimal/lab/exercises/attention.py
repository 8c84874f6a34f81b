"""Lesson 01: attention."""

__all__ = []
