"""What a client does with repeated messages (docs/WIRE.md, "Repetitions")."""


class Accepted:
    """The messages that a client has accepted, and its answer to the last of them."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.answer: bytes | None = None  # None: there is none, or none yet

    def accept(self, message: bytes, answer: bytes | None) -> None:
        """A message that was new."""
        self.messages.append(message)
        self.answer = answer

    def again(self, message: bytes) -> bytes | None:
        """Returns what is sent for one of these messages: the same answer to the last, or None."""
        return self.answer if message == self.messages[-1] else None

    def abort(self) -> None:
        """The client has ended the round for itself."""
        self.answer = None
