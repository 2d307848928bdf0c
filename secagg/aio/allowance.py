"""An allowance: a server may cause so much per minute."""


class Allowance:
    """Counts what a server causes: so much per minute, and as much at once."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._left = float(per_minute)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Takes one, if there is one."""
        grown = self._left + (now - self._at) * self.per_minute / 60
        self._left, self._at = min(float(self.per_minute), grown), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
