"""Reads dashboards with Grafana's own library and writes them again; prints what that changes, as JSON.

Usage: grafana_sdk.py FILE...
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def changes(before, after, path):
    """What `after` lacks of `before`. The library leaves out fields without a value, and drops those that it does not know."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if value is not None:
                yield from changes(value, after.get(name), f"{path}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, pair in enumerate(zip(before, after)):
            yield from changes(*pair, f"{path}/{at}")
    elif before != after:
        yield f"{path}: {before} became {after}"


plugins.register_default_plugins()
found = []
for file in map(pathlib.Path, sys.argv[1:]):
    board = json.loads(file.read_text(encoding="utf-8"))
    found += changes(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board))), file.name)
print(json.dumps(found))
