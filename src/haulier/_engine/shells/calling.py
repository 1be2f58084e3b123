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

__all__ = ["Caller", "LateImpl", "call_plainly", "caller_of", "check_callable_with_download"]

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
    if type(function) is FunctionType and not (hasattr(function, "__wrapped__") or hasattr(function, "__signature__")):
        code = function.__code__
        named = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        if "transfer" not in named:
            return call_plainly
    return _caller(impl)


def _caller(impl: Impl) -> Caller:
    if isinstance(impl, partial) and "transfer" in impl.keywords:
        return call_plainly  # the partial passes its own
    parameters = _parameters(impl)
    if not any(each.name == "transfer" and each.kind in _BY_NAME for each in parameters):
        return call_plainly
    needed = [each.name for each in parameters if each.default is Parameter.empty and each.kind in _BY_PLACE]
    return _transfer_alone if needed == ["transfer"] else _with_transfer


def _parameters(impl: Impl) -> list[Parameter]:
    """The parameters of ``impl``; none if it has no signature.

    A function that ``functools.wraps`` made to look like another one is asked for its own parameters. Only if it passes
    on whatever it gets (``*args, **kwargs``) do those of the wrapped function count.
    """
    function: Any = impl.__func__ if isinstance(impl, MethodType) else impl
    while True:
        wrapped = getattr(function, "__wrapped__", None)
        try:
            parameters = list(signature(function, follow_wrapped=False).parameters.values())
        except (TypeError, ValueError):
            if wrapped is None:
                return []
            parameters = _ANYTHING  # such as ``functools.cache``
        if wrapped is None or not {each.kind for each in parameters} >= _PASSES_ON:
            break
        function = wrapped
    return parameters[1:] if isinstance(impl, MethodType) else parameters


def _takes_three(impl: Impl) -> bool:
    """Whether a plain function or method certainly takes the three arguments: 20 times faster than its signature."""
    function = impl.__func__ if isinstance(impl, MethodType) else impl
    if type(function) is not FunctionType or hasattr(function, "__signature__"):
        return False
    code = function.__code__
    places = code.co_argcount - isinstance(impl, MethodType)
    needed = places - len(function.__defaults__ or ())
    return needed <= 3 <= places and not code.co_kwonlyargcount and "transfer" not in code.co_varnames


def check_callable_with_download(name: str, impl: Impl) -> None:
    """Raise ``TypeError`` if ``impl`` cannot be called the way ``caller_of`` calls it. ``name`` is the parameter's."""
    if _takes_three(impl):
        return
    caller, arguments = caller_of(impl), ("download_id", "target_id", "display_name")
    try:
        form = signature(impl, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # a builtin that does not tell
    try:
        if caller is call_plainly:
            form.bind(*arguments)
        elif caller is _transfer_alone:
            form.bind("transfer")
        else:
            form.bind(*arguments, transfer="transfer")
    except TypeError as error:
        raise TypeError(
            f"{name} must take (download_id, target_id, display_name), the same and a parameter named transfer, or "
            f"transfer alone; {impl!r} takes {form}, which does not fit ({error})"
        ) from None


_ANYTHING: Final = [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]
_PASSES_ON: Final = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
_BY_NAME: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_PLACE: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
