"""The one error of this package."""


class SpecError(ValueError):
    """A specification that cannot be read, or that has no meaning.

    ``str(error)`` is one line, ``name:line:column: message``; the parts that are unknown are left out.

    Attributes:
        message: what is wrong, and what is expected instead.
        name: file or object at fault, or None.
        line: line in the file, from 1, or None.
        column: column in the line, from 1, or None.
    """

    def __init__(self, message: str, name: str | None = None, line: int | None = None, column: int | None = None):
        """Store the parts; see the class."""
        super().__init__(message, name, line, column)
        self.message, self.name, self.line, self.column = message, name, line, column

    def __str__(self) -> str:
        """The parts in one line."""
        place = ":".join(str(part) for part in (self.name, self.line, self.column) if part is not None)
        return " ".join(f"{place}: {self.message}".split()) if place else " ".join(self.message.split())
