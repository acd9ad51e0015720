"""The files of Office: a zip of XML parts that refer to each other."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from lxml import etree

from knowledge.parse.draft import Refused

_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_MAX_PARTS = 20_000
_MAX_INFLATED = 300 * 2**20
# Deflate reaches 1,032; sheets of equal cells come to about 100.
_MAX_RATIO = 400
_RATIO_MATTERS_FROM = 10 * 2**20
_CHUNK = 2**20
_REL_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_REL_ID_STRICT = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"


def local(element: etree._Element) -> str:
    """The name without its namespace, of which Office writes two sets; "" for what has no name."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: etree._Element | None, name: str) -> str | None:
    """An attribute by its local name."""
    if element is None:
        return None
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def child(element: etree._Element | None, *path: str) -> etree._Element | None:
    """The descendant at the end of a path of local names."""
    for name in path:
        if element is None:
            return None
        element = next((inner for inner in element if local(inner) == name), None)
    return element


def rel_id(element: etree._Element) -> str:
    """The id by which an element refers to another part."""
    return str(element.get(_REL_ID) or element.get(_REL_ID_STRICT) or "")


class Package:
    """A file of Office whose parts are inflated one by one, counting.

    Raises Refused for encrypted and old files, and for what inflates beyond reason, whatever its
    directory says of sizes; BadZipFile for what is no zip.
    """

    def __init__(self, path: str) -> None:
        _refuse_ole(path)
        self._zip = zipfile.ZipFile(path)
        self._names = set(self._zip.namelist())
        self._inflated = 0
        self._relations: dict[str, dict[str, tuple[str, str]]] = {}
        if len(self._zip.infolist()) > _MAX_PARTS:
            raise Refused("inflates_too_large")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def check(self) -> None:
        """Inflates every part of XML once, for a library that will not count."""
        for info in self._zip.infolist():
            if info.filename.endswith((".xml", ".rels", ".vml")):
                for _chunk in self._chunks(info.filename):
                    pass

    def xml(self, name: str) -> etree._Element | None:
        """The root of a part; None if there is no such part."""
        if name not in self._names:
            return None
        parser = etree.XMLParser(
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        for chunk in self._chunks(name):
            parser.feed(chunk)
        root = parser.close()
        if root.getroottree().docinfo.internalDTD is not None:
            # Office writes none: it is there to smuggle entities in.
            raise Refused("broken")
        return root

    def passing(self, name: str, *kinds: str) -> Iterator[etree._Element]:
        """Elements of these local names as they end, in a part too big to be kept as a tree."""
        parser = etree.XMLPullParser(
            events=("end",),
            tag=[f"{{*}}{kind}" for kind in kinds],
            resolve_entities=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
        )
        for chunk in self._chunks(name) if name in self._names else ():
            parser.feed(chunk)
            for _event, element in parser.read_events():
                if not isinstance(element, etree._Element):
                    continue
                yield element
                element.clear()
                above = element.getparent()
                while above is not None and above[0] is not element:
                    del above[0]

    def main_part(self) -> str:
        """The name of the part that the others hang on."""
        for kind, target in self.relations("").values():
            if kind == "officeDocument":
                return target
        raise Refused("broken")

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """By id, the kind and the name of every part that a part refers to."""
        if part not in self._relations:
            self._relations[part] = self._read_relations(part)
        return self._relations[part]

    def _read_relations(self, part: str) -> dict[str, tuple[str, str]]:
        folder, name = posixpath.split(part)
        root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        found = {}
        for element in root if root is not None else ():
            if element.get("TargetMode") == "External":
                continue
            kind = str(element.get("Type", "")).rpartition("/")[2]
            target = posixpath.join("/", folder, str(element.get("Target", "")))
            found[str(element.get("Id", ""))] = kind, posixpath.normpath(target).lstrip("/")
        return found

    def related(self, part: str, kind: str) -> etree._Element | None:
        """The root of the part of this kind that a part refers to."""
        for found, target in self.relations(part).values():
            if found == kind:
                return self.xml(target)
        return None

    def _chunks(self, name: str) -> Iterator[bytes]:
        packed = self._zip.getinfo(name).compress_size
        size = 0
        with self._zip.open(name) as part:
            while chunk := part.read(_CHUNK):
                size += len(chunk)
                self._inflated += len(chunk)
                is_bomb = size > _RATIO_MATTERS_FROM and size > _MAX_RATIO * max(packed, 1)
                if is_bomb or self._inflated > _MAX_INFLATED:
                    raise Refused("inflates_too_large")
                yield chunk


def _refuse_ole(path: str) -> None:
    """Before 2007 Office wrote OLE containers; today it wraps what it encrypts in them."""
    with open(path, "rb") as file:
        if file.read(len(_OLE_MAGIC)) != _OLE_MAGIC:
            return
        tail = b""
        while chunk := file.read(_CHUNK):
            if _ENCRYPTED_STREAM in tail + chunk:
                raise Refused("encrypted")
            tail = chunk[-len(_ENCRYPTED_STREAM) :]
    raise Refused("old_office")
