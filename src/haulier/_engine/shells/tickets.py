"""Convert tickets to text and back, for durable downloads. An impl is stored by its name."""

from __future__ import annotations

import sys
from importlib import import_module
from operator import attrgetter
from types import MethodType
from typing import Any

from haulier._engine.shells.calling import LateImpl
from haulier._engine.storage.codec import decode, encode, encode_text
from haulier._engine.ticket import Impl, Ticket, fields_of, flat_fields, make_ticket

__all__ = ["NamedImpl", "name_of", "text_of_ticket", "ticket_of"]


class NamedImpl(LateImpl):
    """An impl that is stored by its name, ``module:qualified.name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._impl: Impl | None = None

    def find(self) -> Impl:
        """Import the impl. Raises ``ImportError`` if it cannot be imported."""
        if self._impl is None:
            module, _, path = self.name.partition(":")
            try:
                impl = attrgetter(path)(import_module(module))
            except Exception as error:
                raise ImportError(
                    f"cannot import the impl {self.name}, which the download was dispatched with: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not callable(impl):
                raise ImportError(
                    f"the impl {self.name}, which the download was dispatched with, is not callable: {impl!r}"
                )
            self._impl = impl
        return self._impl


def name_of(impl: Impl) -> str | None:
    """Return the name by which ``impl`` can be imported; None if it cannot (a lambda, a bound method)."""
    if isinstance(impl, NamedImpl):
        return impl.name
    module, path = getattr(impl, "__module__", None), getattr(impl, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module not in sys.modules:
        return None
    try:
        found = attrgetter(path)(sys.modules[module])
    except AttributeError:  # a lambda, or a function inside another: '<locals>' is no attribute
        return None
    # A class method is another object each time it is looked at.
    same = found is impl or (type(impl) is type(found) is MethodType and found == impl)
    return f"{module}:{path}" if same else None


def text_of_ticket(ticket: Ticket, impl_name: str | None) -> str:
    """Convert a ticket to text. Raises ``TypeError``, naming the key, for a value that cannot be stored."""
    _, source, target_id, display_name, filename, username, _, thread_name, _, queued_at = ticket
    fields = fields_of(ticket)
    texts = (
        encode_text("target_id", target_id),
        encode_text("display_name", display_name),
        encode_text("original_filename", filename),
        "null" if username == source else encode_text("username_override", username),
        "null" if impl_name is None else encode("impl", impl_name),
        "null" if thread_name is None else encode_text("thread_name", thread_name),
        "{}" if fields is None else encode("extra_record_fields", fields),
        repr(queued_at),
    )
    return f"[{','.join(texts)}]"


def ticket_of(download_id: str, source: str, text: str, impl_of: Any) -> Ticket:
    """Convert a text back to its ticket. ``impl_of(name)`` gives the impl; the name None means the source's own."""
    values: Any = decode(text)
    target_id, display_name, filename, username, impl_name, thread_name, fields, queued_at = values
    return make_ticket(
        download_id,
        source,
        target_id,
        display_name,
        filename,
        username or source,
        impl_of(impl_name),
        thread_name,
        flat_fields(fields),
        queued_at,
    )
