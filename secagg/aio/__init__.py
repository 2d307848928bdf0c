"""Rounds over asyncio: `serve` and `Hub` for a server, `participate` and `attend` for its clients.

Any transport with two methods carries them: `Link` for one connection, `Net` for those of a cohort.
"""

from .attendance import attend
from .hub import Hub
from .hub_net import HubNet
from .links import Link, Net, RoutedNet
from .participation import participate
from .serving import serve
from .training import run_round

__all__ = [
    "Hub",
    "HubNet",
    "Link",
    "Net",
    "RoutedNet",
    "attend",
    "participate",
    "run_round",
    "serve",
]
