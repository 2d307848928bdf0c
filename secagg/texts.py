"""Texts of other people, which are shown or logged, as one printable line."""


def one_line(text: str, most: int = 300) -> str:
    """Returns a text as one printable line of at most `most` characters."""
    line = "".join(each if each.isprintable() else " " for each in text[: 4 * most])
    line = " ".join(line.split())
    return line if len(line) <= most else line[: most - 3] + "..."
