"""Lesson 04: the token gate."""

__all__ = []
