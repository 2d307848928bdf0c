"""Handles one message of the coordinator, in a process of its own.

``python party.py HOME``: the message comes on the standard input, the answer goes to the standard
output. Between two messages everything is in the home: keys, ledger, and the sealed client.
"""

import sys

from agreed import SURVEY, values_of

import secagg


def train(assignment: secagg.Assignment) -> list[int]:
    """Returns this party's input; called once per round."""
    assignment.expect(SURVEY)  # in its own words, not in the server's
    return values_of(assignment.index)


if __name__ == "__main__":
    home = secagg.Home(sys.argv[1], wait=60)  # for the process of the message before
    sys.stdout.buffer.write(secagg.answer(home, sys.stdin.buffer.read(), train))
