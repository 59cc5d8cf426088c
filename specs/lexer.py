"""Words, brackets and positions, for both versions of VNNLIB."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from specs.errors import SpecError

BLANK = r"(?:\s++|;[^\n]*+)*+"
_TOKEN = re.compile(BLANK + r'(?P<token>[()\[\],]|"[^"]*"|[^\s()\[\],;"]++|")')


class Token(NamedTuple):
    """A bracket, comma, quoted string or word (name, number, operator), and where it begins in the text."""

    text: str
    offset: int

    @property
    def end(self) -> int:
        """Where the text goes on behind the token."""
        return self.offset + len(self.text)


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name to call it by in errors."""

    text: str
    name: str

    def token(self, start: int) -> Token | None:
        """The first token from ``start`` on, or None at the end of the text; see ``tokens``."""
        return next(self.tokens(start), None)

    def tokens(self, start: int = 0) -> Iterator[Token]:
        """Tokens from ``start`` on, one at a time; blanks and ``;`` comments are skipped.

        Raises:
            SpecError: a string is not closed.
        """
        while match := _TOKEN.match(self.text, start):
            token = Token(match["token"], match.start("token"))
            if token.text == '"':
                raise self.error("this string is never closed", token.offset)
            yield token
            start = match.end()

    def next(self, tokens: Iterator[Token], opening: Token) -> Token:
        """The next token.

        Raises:
            SpecError: the text ends before the bracket at ``opening`` is closed.
        """
        token = next(tokens, None)
        if token is None:
            raise self.error(f"this {opening.text} is never closed", opening.offset)
        return token

    def expect(self, tokens: Iterator[Token], opening: Token, *texts: str) -> int:
        """Read exactly these tokens; return the end of the last.

        Raises:
            SpecError: there is another one.
        """
        for text in texts:
            token = self.next(tokens, opening)
            if token.text != text:
                raise self.error(f"expected {text}, found {shown(token.text)}", token.offset)
        return token.end

    def error(self, message: str, offset: int) -> SpecError:
        """The error to raise for what is at ``offset``; line and column are counted only now."""
        line = self.text.count("\n", 0, offset) + 1
        return SpecError(message, self.name, line, offset - self.text.rfind("\n", 0, offset))


def shown(text: str) -> str:
    """A token as an error message shows it: never more than 40 characters."""
    return text if len(text) <= 40 else text[:37] + "..."
