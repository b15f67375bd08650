"""Report files in JSON: what `--output json` prints; of several jobs a list of that."""

import json
from collections.abc import Sequence

from cachectl.cli.render.json import Fields, warm
from cachectl.cli.render.reports.told import Told
from cachectl.errors import CachectlError


def report(told: Sequence[Told]) -> str:
    """Return one object for one warm, a list of objects for several."""
    objects = [_fields(one) for one in told]
    whole = objects[0] if len(objects) == 1 else objects
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def _fields(told: Told) -> Fields:
    head: Fields = {"command": "warm", "profile": told.profile, "server": told.server}
    if isinstance(told.outcome, CachectlError):
        error = told.outcome.as_dict()
        return {**head, "job": told.job, "exit_code": told.exit_code, "error": error}
    return warm(told.outcome, head, told.exit_code)
