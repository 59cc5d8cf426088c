"""Bounds of every node of a network over boxes of its input."""
