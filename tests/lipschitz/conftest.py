"""Runs of the command, as for its other tests."""

from tests.cli.conftest import command, folder

__all__ = ["command", "folder"]
