"""Branching rules, one a file: where to split a domain."""
