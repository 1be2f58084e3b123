"""How to call an impl: with three arguments, with these and its transfer, or with the transfer alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from types import FunctionType, MethodType
from typing import Any, Final

from haulier._engine.ticket import DISPLAY_NAME, ID, TARGET_ID, Impl
from haulier.transfer import Transfer

__all__ = ["Caller", "LateImpl", "call_plainly", "caller_of"]

Caller = Callable[[Impl, Transfer], Any]


class LateImpl(ABC):
    """Stands for an impl that is looked up when it is called."""

    @abstractmethod
    def find(self) -> Impl:
        """Return the impl. An exception fails the attempt."""


def call_plainly(impl: Impl, transfer: Transfer) -> Any:
    """Call ``impl`` with its three arguments."""
    ticket = transfer.ticket
    return impl(ticket[ID], ticket[TARGET_ID], ticket[DISPLAY_NAME])


def _with_transfer(impl: Impl, transfer: Transfer) -> Any:
    ticket = transfer.ticket
    return impl(ticket[ID], ticket[TARGET_ID], ticket[DISPLAY_NAME], transfer=transfer)


def _transfer_alone(impl: Impl, transfer: Transfer) -> Any:
    return impl(transfer)


def caller_of(impl: Impl) -> Caller:
    """Decide how to call ``impl``: a parameter named ``transfer`` gets the ``Transfer``.

    The code object of a plain function or method tells, at next to no cost. Anything else (a ``functools.partial``, the
    result of ``functools.wraps``, an object with ``__call__``) is asked for its signature. A callable that has no
    signature (a builtin), or that takes anything (a ``Mock``), is called with the three arguments.
    """
    function = impl.__func__ if isinstance(impl, MethodType) else impl
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        named = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        if "transfer" not in named:
            return call_plainly
    return _caller(impl)


def _caller(impl: Impl) -> Caller:
    if isinstance(impl, partial) and "transfer" in impl.keywords:
        return call_plainly  # the partial passes its own
    try:
        parameters = signature(impl).parameters.values()
    except (TypeError, ValueError):
        return call_plainly
    if not any(each.name == "transfer" and each.kind in _BY_NAME for each in parameters):
        return call_plainly
    needed = [each.name for each in parameters if each.default is Parameter.empty and each.kind in _BY_PLACE]
    return _transfer_alone if needed == ["transfer"] else _with_transfer


_BY_NAME: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_PLACE: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
