"""torch's compiler is imported when something is compiled, not when the first optimizer is made."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.optim import SGD, Adam, Optimizer


def import_compiler_late() -> None:
    """Lets optimizers work without ``torch._dynamo`` until something else imports it.

    torch hides parts of its optimizers from its compiler, and imports the compiler for that at their first call: it
    takes longer than all else at the start, in runs that compile nothing. From here on they call it only where it is.
    For the whole process and optimizers to come, so a decision of the program, not of a library. A torch that hides
    them in another way stays as it is.
    """
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        _replace(Optimizer, name)
    for kind in (Adam, SGD):
        # Beside talking to the compiler, torch's wrapper of a step turns gradients off.
        _replace(kind, "step", lambda optimizer: torch.set_grad_enabled(optimizer.defaults["differentiable"]))


def _replace(
    kind: type[Optimizer], name: str, around: Callable[[Any], AbstractContextManager[Any]] = nullcontext
) -> None:
    wrapped: Any = getattr(kind, name)
    plain: Any = getattr(wrapped, "__wrapped__", None)
    if plain is None or "_dynamo" not in wrapped.__code__.co_names:
        return

    @functools.wraps(wrapped)
    def late(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            return wrapped(optimizer, *args, **kwargs)
        with around(optimizer):
            return plain(optimizer, *args, **kwargs)

    setattr(kind, name, late)
