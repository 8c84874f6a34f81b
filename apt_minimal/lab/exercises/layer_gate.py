"""Lesson 05: the layer gate, and APT whole."""

__all__ = []
