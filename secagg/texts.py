"""Texts of other people, which are shown or logged, as one printable line."""


def one_line(text: str, most: int = 300) -> str:
    """Returns a text as one printable line of at most `most` characters."""
    line = "".join(each if each.isprintable() else " " for each in text[: 4 * most])
    line = " ".join(line.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def described(error: BaseException, most: int = 300) -> str:
    """Returns type and text of an exception that other people's code raised, as `one_line`."""
    try:
        text = str(error)
    except Exception:  # of the exception's own __str__
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__, most)
