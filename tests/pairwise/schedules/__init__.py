"""Random schedules: a server that lies to everybody, clients that lie, and a network that is bad.

A lying server (`server_plan`, `roster_lies`, `set_lies`, `lying_server`, `server_strategies`) has a
plan, which sets it tells to whom, and a few lies about it, so that most of a round makes sense and
the lies meet clients that are deep in it. Whatever is no lie is done as well for the adversary as
can be: it gives everybody all valid signatures that there are, and ciphertexts that open wherever
it holds the keys. `server_judge` tells what the adversary then holds.

Lying clients and a bad network (`network_plan`, `client_lies`, `bad_network`,
`network_strategies`) surround an honest server. `network_judge` tells whether the sum is the sum of
what its survivors sent, and whether an honest party was harmed.

`test_schedules.py` plays thousands of both kinds.
"""
