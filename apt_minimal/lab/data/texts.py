"""What is asked of a text or a name in a row, and how messages show a value."""

import reprlib
import unicodedata

UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}  # Unicode's categories of what leaves no ink: blanks, controls, joiners


def shown(value) -> str:
    """A value as messages show it: not more than a line of it."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def check_text(field: str, value) -> str:
    """Give a text back if it can be read.

    Raises:
        ValueError: it is no string, or there is nothing to see in it, or half a character.
    """
    if not isinstance(value, str):
        raise ValueError(f"{field} is {shown(value)}; it must be a string")
    if all(unicodedata.category(character) in UNSEEN for character in value):
        raise ValueError(f"{field} is {shown(value)}; there is nothing in it to read")
    check_encodable(field, value)
    return value


def check_name(field: str, name: str) -> str:
    """Give a name back if it can be read, and told from others by more than a blank.

    Raises:
        ValueError: as in `check_text`, or the name begins or ends with a blank.
    """
    if check_text(field, name) != name.strip():
        raise ValueError(f"{field} is {shown(name)}, with a blank before or after it")
    return name


def check_encodable(field: str, text: str) -> None:
    """See whether a text is whole.

    Raises:
        ValueError: it holds half of a character that is written in two halves (an emoji cut in the middle, say).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        part = shown(text[max(error.start - 20, 0) : error.end + 20])
        raise ValueError(f"{field} has half a character (a lone surrogate) in it: {part}") from None
