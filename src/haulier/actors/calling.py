"""How an impl wants to be called: with three arguments, with its transfer beside them, or with the transfer alone."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

from haulier.messages import Impl
from haulier.transfer import Transfer

__all__ = ["Caller", "caller_of"]

Caller = Callable[[Impl, Transfer], Any]


def _plain(impl: Impl, transfer: Transfer) -> Any:
    ticket = transfer.ticket
    return impl(ticket[0], ticket[2], ticket[3])


def _with_transfer(impl: Impl, transfer: Transfer) -> Any:
    ticket = transfer.ticket
    return impl(ticket[0], ticket[2], ticket[3], transfer=transfer)


def _transfer_alone(impl: Impl, transfer: Transfer) -> Any:
    return impl(transfer)


def caller_of(impl: Impl) -> Caller:
    """How to call ``impl``: a parameter named ``transfer`` gets the ``Transfer``.

    Looked up in the code of a function, a method or an object's ``__call__``. Anything else (a ``Mock``, a
    ``functools.partial``) is called with the three arguments.
    """
    function: Any = impl
    if not isinstance(function, (FunctionType, MethodType)):
        function = type(impl).__call__
    bound = not isinstance(impl, FunctionType)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return _caller(code, bound) if type(code) is CodeType else _plain


def _caller(code: CodeType, bound: bool) -> Caller:
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if "transfer" not in named:
        return _plain
    return _transfer_alone if named[bound:] == ("transfer",) else _with_transfer
