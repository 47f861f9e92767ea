"""A delivery as a run sees it, and the digests that identify it."""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.errors import DataError
from ml.photographs.source import Listed, listing_digest
from ml.release.note import NOTE, read_note
from ml.release.release import Release, tables_digest
from ml.storage import modified

HELD = "held"  # the table of extract that lists the images with rows in a dated delivery, by table

log = logging.getLogger(__name__)
UNDATED = "release"  # name of the only delivery of a plain release folder


class Delivery(BaseModel):
    """A delivery as it was when the run was opened.

    Attributes:
        name: The date, `YYYY-MM-DD`, or `release` for a plain release folder.
        uri: The folder.
        tables: Digest of the annotation files.
        photographs: Digest of the photographs, or of their address if they are behind HTTP.
        listing: Digest of the photographs' names, which names their file in `DeliveryCache`; empty if the delivery
            needs no listing.
        version: The published version that the annotation files are of, such as `V5`; empty in runs of older programs.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str
    tables: str
    photographs: str
    listing: str = ""
    version: str = ""

    @property
    def date(self) -> datetime.date | None:
        """The delivery's date, None for a plain release folder."""
        return None if self.name == UNDATED else datetime.date.fromisoformat(self.name)


class DeliveryCache(NamedTuple):
    """The folders that cache what is computed once per delivery.

    Attributes:
        digests: Folder of the digests of files.
        listings: Folder of the listings of photographs: Parquet with the columns subset and image_id.
    """

    digests: str
    listings: str

    def listing_uri(self, listing: str) -> str:
        """Return the URI of a delivery's listing of photographs."""
        return storage.join(self.listings, f"{listing}.parquet")


def identify(name: str, release: Release, cache: DeliveryCache) -> Delivery:
    """Compute the digests that identify a delivery.

    A dated delivery does not change once its note is written, so its digests are cached.

    Args:
        name: The delivery's name.
        release: The delivery's files.
        cache: The folders of cached digests and listings.

    Raises:
        DataError: The number of photographs differs from the delivery's note.
    """
    entry = ""
    if name != UNDATED and release.holds_photographs:  # photographs stored elsewhere may change at any time
        fs, path = storage.filesystem(storage.join(release.uri, NOTE))
        info = fs.info(path)
        state = repr([release.uri, info["size"], modified(info)])
        entry = storage.join(cache.digests, f"delivery-{hashlib.sha256(state.encode()).hexdigest()[:32]}.json")
        if storage.exists(entry):
            return Delivery.model_validate({**storage.read_json(entry), "version": release.version})
    tables = tables_digest(release, cache.digests)
    if not entry:
        photographs = release.photographs.digest()
        return Delivery(name=name, uri=release.uri, tables=tables, photographs=photographs, version=release.version)
    listing = list(release.photographs.list())
    delivery = Delivery(
        name=name,
        uri=release.uri,
        tables=tables,
        photographs=listing_digest(listing),
        listing=_keep_listing(name, release, listing, cache),
        version=release.version,
    )
    storage.write_json(entry, delivery.model_dump(mode="json"))
    return delivery


def _keep_listing(name: str, release: Release, listing: Iterable[Listed], cache: DeliveryCache) -> str:
    """Store the names of a delivery's photographs, and return the digest that names the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted((subset, image_id) for subset, image_id, _ in listing)
    stated = read_note(release.uri.rpartition("/")[0], name).photographs
    if stated not in (None, len(names)):
        raise DataError(
            f"The delivery {release.uri} holds {len(names)} photographs, but its {NOTE} states {stated}.",
            "Add the missing photographs and seal the delivery again with `python -m ml seal-delivery`.",
        )
    digest = hashlib.sha256(repr(names).encode()).hexdigest()[:32]
    uri = cache.listing_uri(digest)
    if not storage.exists(uri):
        columns = {"subset": [subset for subset, _ in names], "image_id": [image_id for _, image_id in names]}
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table({column: pa.array(values, pa.string()) for column, values in columns.items()}), buffer)
        storage.write_bytes(uri, buffer.getvalue().to_pybytes())
        log.info("delivery %s: %s photographs", release.uri, f"{len(names):,}")
    return digest


def versions(deliveries: Iterable[Delivery]) -> str:
    """Return the published versions of the deliveries as text; empty if an older program did not note them."""
    return ", ".join(dict.fromkeys(delivery.version for delivery in deliveries if delivery.version))


def combined(digests: Sequence[str]) -> str:
    """Combine digests, in their order, into one; a single digest is returned unchanged."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
