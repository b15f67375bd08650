"""The callable that `package.module:callable` names."""

import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module, invalidate_caches
from typing import Any

from cachectl.errors import UsageError
from cachectl.sources.origins.call import text_of
from cachectl.values import safe


def load_callable(spec: str, directory: str) -> Callable[..., Any]:
    """Return the callable that `spec` (`package.module:callable`) names.

    It is imported with `directory` first on `sys.path`. Raises `UsageError` that says in one line
    which part of `spec` is wrong, or why the import failed.
    """
    module, _, path = spec.partition(":")
    if not all(name.isidentifier() for name in (*module.split("."), *path.split("."))):
        msg = f"{safe(spec)} names no origin"
        raise UsageError(msg, "an origin is named package.module:callable")
    found: Any = _imported(module, directory)
    at = module
    for name in path.split("."):
        found = _attribute(found, name, at)
        at = f"{at}.{name}"
    if not callable(found):
        msg = f"{at} is not callable, it is of type {type(found).__name__}"
        raise UsageError(msg)
    return found  # type: ignore[no-any-return]


def _imported(module: str, directory: str) -> object:
    directory = os.path.abspath(directory)
    if directory in sys.path:
        sys.path.remove(directory)
    sys.path.insert(0, directory)
    invalidate_caches()
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            msg = f"no module named {error.name} in {safe(directory)} or where Python looks"
            raise UsageError(msg) from None
        reason = _named(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 somebody else's module
        reason = _named(error)
    msg = f"importing {module} failed: {reason}"
    raise UsageError(msg)


def _attribute(holder: object, name: str, at: str) -> object:
    try:
        return getattr(holder, name)
    except AttributeError:
        near = get_close_matches(name, dir(holder), 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        msg = f"{at} has no {name}{meant}"
        raise UsageError(msg) from None


def _named(error: BaseException) -> str:
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
