"""Checksums of files: how they are written, and lists of them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from haulier.errors import PermanentError

__all__ = ["Checksum", "read_sums"]

_LINE = re.compile(r"\\?([0-9A-Fa-f]{32,128})[ \t][ *]?(.+)")
_BSD_LINE = re.compile(r"\\?([A-Za-z0-9/-]+) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})")
_BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}


class Checksum(NamedTuple):
    """``algorithm`` as ``hashlib`` calls it, ``digest`` in lower-case hex."""

    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """The checksum that ``'sha256:<hex>'`` names. Raises ``ValueError`` that says what is wrong with it."""
        algorithm, colon, digest = text.strip().partition(":")
        algorithm, digest = algorithm.strip().lower().replace("sha-", "sha"), digest.strip().lower()
        if not colon or not digest:
            raise ValueError(f"a checksum is written as ALGORITHM:HEX, like sha256:9f86d0…, not {text!r}")
        if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
            known = ", ".join(sorted(each for each in hashlib.algorithms_guaranteed if not each.startswith("shake")))
            raise ValueError(f"unknown checksum algorithm {algorithm!r}; known are {known}")
        size = 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
        if len(digest) != size or not re.fullmatch("[0-9a-f]+", digest):
            raise ValueError(f"a {algorithm} checksum has {size} hex digits, not {digest!r}")
        return cls(algorithm, digest)

    @classmethod
    def required(cls, text: str | None) -> Checksum | None:
        """Parse the checksum of a request; None for None. Raises ``PermanentError`` if it is not a checksum."""
        if text is None:
            return None
        try:
            return cls.parse(text)
        except ValueError as error:
            failure = PermanentError(str(error))
        raise failure

    def verify(self, path: Path, verb: str = "has") -> None:
        """Raise ``PermanentError`` if the file at ``path`` has another checksum. ``verb`` is part of its text."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, self.algorithm).hexdigest()
        if found != self.digest:
            raise PermanentError(f"{path.name!r} {verb} another checksum: {self.algorithm}:{found}")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


def read_sums(text: str) -> dict[str, Checksum]:
    """The checksums by file name of what ``sha256sum`` and its kin print; also in BSD's form.

    If a file is listed with several algorithms, the one with the longest digest counts.

    Raises ``ValueError``, naming the line, if a line is invalid or contradicts an earlier one.
    """
    sums: dict[str, Checksum] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        name, checksum = _entry(number, line)
        before = sums.get(name, checksum)
        if before.algorithm == checksum.algorithm and before != checksum:
            raise ValueError(f"line {number} gives {name!r} another {checksum.algorithm} checksum than an earlier line")
        sums[name] = max(before, checksum, key=lambda each: len(each.digest))
    return sums


def _entry(number: int, line: str) -> tuple[str, Checksum]:
    plain, bsd = _LINE.fullmatch(line), _BSD_LINE.fullmatch(line.strip())
    if plain is not None and len(plain[1]) in _BY_LENGTH:
        name, checksum = plain[2].strip(), Checksum(_BY_LENGTH[len(plain[1])], plain[1].lower())
    elif bsd is not None:
        name, checksum = bsd[2].strip(), Checksum.parse(f"{bsd[1]}:{bsd[3]}")
    else:
        raise ValueError(f"line {number} is not a checksum and a file name: {line[:60]!r}")
    if line.startswith("\\"):  # sha256sum marks so a line in which it has escaped the name
        name = re.sub(r"\\([\\nr])", lambda found: {"n": "\n", "r": "\r"}.get(found[1], "\\"), name)
    return name.removeprefix("./"), checksum
