"""A delivery as a run saw it, and the digests by which it is known."""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.errors import DataError
from ml.release.note import NOTE, read_note
from ml.release.photographs import Listed, listing_digest
from ml.release.release import Release, tables_digest
from ml.storage import modified

log = logging.getLogger(__name__)
UNDATED = "release"  # the name of the one delivery of a plain release folder


class Delivery(BaseModel):
    """A delivery as a run saw it when it was opened.

    Attributes:
        name: Its date, `YYYY-MM-DD`, or `release` for a plain release folder.
        uri: Its folder.
        tables: Digest of its annotation files.
        photographs: Digest of its photographs, or of their address where they lie behind http.
        listing: Digest of the photographs' names, under which `DeliveryCache` keeps them; empty where nothing needs
            them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str
    tables: str
    photographs: str
    listing: str = ""

    @property
    def date(self) -> datetime.date | None:
        """Its date, None for a plain release folder."""
        return None if self.name == UNDATED else datetime.date.fromisoformat(self.name)


class DeliveryCache(NamedTuple):
    """Folders for what is computed once of a delivery.

    Attributes:
        digests: Of the digests of its files.
        listings: Of the names of its photographs: Parquet with the columns subset and image_id.
    """

    digests: str
    listings: str

    def listing_uri(self, listing: str) -> str:
        """Return where the names of a delivery's photographs are kept."""
        return storage.join(self.listings, f"{listing}.parquet")


def identify(name: str, release: Release, cache: DeliveryCache) -> Delivery:
    """Give a delivery the digests by which it is known.

    Those of a dated one, which never changes after its note was written, are computed once and kept.

    Args:
        name: The delivery's name.
        release: Its files.
        cache: Where digests and listings are kept.

    Raises:
        DataError: It holds another number of photographs than its note states.
    """
    entry = ""
    if name != UNDATED and release.holds_photographs:  # those of another place may come at any time
        fs, path = storage.filesystem(storage.join(release.uri, NOTE))
        info = fs.info(path)
        state = repr([release.uri, info["size"], modified(info)])
        entry = storage.join(cache.digests, f"delivery-{hashlib.sha256(state.encode()).hexdigest()[:32]}.json")
        if storage.exists(entry):
            return Delivery.model_validate(storage.read_json(entry))
    tables = tables_digest(release, cache.digests)
    if not entry:
        return Delivery(name=name, uri=release.uri, tables=tables, photographs=release.photographs.digest())
    listing = list(release.photographs.list())
    delivery = Delivery(
        name=name,
        uri=release.uri,
        tables=tables,
        photographs=listing_digest(listing),
        listing=_keep_listing(name, release, listing, cache),
    )
    storage.write_json(entry, delivery.model_dump(mode="json"))
    return delivery


def _keep_listing(name: str, release: Release, listing: Iterable[Listed], cache: DeliveryCache) -> str:
    """Keep the names of a delivery's photographs, and return the digest of them under which they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted((subset, image_id) for subset, image_id, _ in listing)
    stated = read_note(release.uri.rpartition("/")[0], name).photographs
    if stated not in (None, len(names)):
        raise DataError(
            f"The delivery {release.uri} holds {len(names)} photographs, its {NOTE} states {stated}.",
            f"Bring the photographs that are missing and write its {NOTE} anew.",
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


def combined(digests: Sequence[str]) -> str:
    """One digest of several in their order; a single one stays what it is."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
