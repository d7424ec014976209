"""What there is in numbers, what the service takes, and whether it works."""

from collections.abc import Sequence
from itertools import batched

from ..models.usage import TagCount, Usage
from ..models.wire import ChecksumList, Health, Limits, TagCursor, TagList
from .flow import Batch, Batches, Flow
from .images import cursor_text
from .query import Values, tags_of
from .session import Session, read

_MOST_CHECKSUMS = 50  # in one request


def tags(session: Session, *, user_id: str | None = None, prefix: str = "", page_size: int = 100) -> Batches[TagCount]:
    """Iterate over the tags that images have, or those that begin with `prefix`, each with how many have it."""

    def batch(after: str | None) -> Flow[Batch[TagCount]]:
        last_key = None if after is None else TagCursor(after)
        query: Values = {
            "user_id": user_id,
            "prefix": prefix or None,
            "limit": page_size,
            "last_key": cursor_text(last_key),
        }
        listed = read((yield from session.ask("GET", "/tags", query=query)), TagList)
        return Batch(listed.tags, listed.last_key.tag if listed.last_key else None)

    return batch


def usage(session: Session, user_id: str | None = None) -> Flow[Usage]:
    """Return how many images there are, and the bytes of their originals: of a user, or of all that one sees."""
    return read((yield from session.ask("GET", "/usage", query={"user_id": user_id})), Usage)


def checksums(session: Session, sha256s: Sequence[str], *, user_id: str | None = None) -> Flow[dict[str, str]]:
    """Return which of some SHA-256 digests, in hex, are those of a user's images: the digest, as given, and the id."""
    normal = {digest: digest.lower() for digest in tags_of("sha256s", sha256s)}
    found: dict[str, str] = {}
    for some in batched(dict.fromkeys(normal.values()), _MOST_CHECKSUMS):
        answer = yield from session.ask("GET", "/checksums", query={"sha256": some, "user_id": user_id})
        found |= {each.sha256: each.image_id for each in read(answer, ChecksumList).checksums}
    return {given: found[digest] for given, digest in normal.items() if digest in found}


def limits(session: Session) -> Flow[Limits]:
    """Return what the service accepts. It is asked once."""
    if session.known_limits is None:
        session.known_limits = read((yield from session.ask("GET", "/limits")), Limits)
    return session.known_limits


def health(session: Session) -> Flow[Health]:
    """Return that the service answers, or raise what says that it does not. It is asked once, and not again."""
    return read((yield from session.ask("GET", "/healthz", retries=0)), Health)


def ready(session: Session) -> Flow[Health]:
    """Return that the service and its stores answer, or raise what says that they do not. It is asked once."""
    return read((yield from session.ask("GET", "/readyz", retries=0)), Health)
