"""The programs that a document prints, for tests that run them."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def programs(document: str) -> dict[str, str]:
    """Returns the blocks of Python in a document whose first line is `# name.py`, by that name."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / document).read_text(), re.DOTALL)
    named = [(re.match(r"# (\w+\.py)\n", block), block) for block in blocks]
    found = {name[1]: block for name, block in named if name}
    assert len(found) == len([name for name, _ in named if name]), f"{document}: a name twice"
    return found
