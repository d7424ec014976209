"""Links to objects, and forms that store them: presigned for the object store, or for our own `/objects/`.

Both speak the same dialect: a client need not know which of them it talks to.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, urlsplit

from ..common import post_policy, sigv4
from ..common.errors import LinkExpired
from ..common.post_policy import AllowedUpload
from ..common.sigv4 import Credentials
from ..models.image import CONTENT_TYPE_OF, Image, original_key
from ..models.link import Form, Link

_PLAIN = re.compile(r'[^"\\%\x00-\x1f\x7f-\U0010ffff]*')
_EXTENSIONS = {*CONTENT_TYPE_OF, "jpeg", "tif"}
OBJECTS_PATH = "/objects/"
TEMPORARY_LIFE = 3_600  # seconds: what is signed with temporary credentials dies with them, so no more is promised


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class LinkService:
    """Signs with what `signer` returns, verifies with any of `keyring`: keys are changed without breaking links.

    Where the object store verifies, there is no keyring.
    """

    def __init__(
        self,
        *,
        signer: Callable[[], Credentials],
        keyring: tuple[Credentials, ...] = (),
        region: str,
        default_life: int,
        public_endpoint: str | None = None,
        objects_path: str = OBJECTS_PATH,
        bucket: str = "objects",
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        """Make links below `objects_path` at the public endpoint; without one, at the origin of each request.

        `bucket` is what forms call the place that they are for.
        """
        self._signer = signer
        self._secrets: Mapping[str, str] = {key.access_key_id: key.secret_access_key for key in keyring}
        self._region = region
        self._default_life = default_life
        self._public_endpoint = public_endpoint
        self._objects_path = objects_path
        self._bucket = bucket
        self._now = now

    @property
    def storage_origin(self) -> str | None:
        """The origin that links and forms lead to, where it is not the service's own."""
        if self._public_endpoint is None:
            return None
        url = urlsplit(self._public_endpoint)
        return f"{url.scheme}://{url.netloc}"

    def link(
        self,
        image: Image,
        *,
        origin: str,
        rendition: str | None = None,
        expires_in: int | None = None,
        not_after: dt.datetime | None = None,
        download: bool = False,
    ) -> Link:
        """Sign a link to the original (or the rendition with this key) for `expires_in` seconds, or as it then says.

        `origin` is the service's own URL as the client reached it; it is used unless a public endpoint is configured.
        Raises LinkExpired if it would have to end at once so as not to live beyond `not_after`.
        """
        key, filename = original_key(image.image_id, image.content_type), image.filename
        if rendition is not None:
            key, filename = rendition, _with_extension_of(rendition, filename)
        url = urlsplit(self._public_endpoint or origin)
        now = self._now()
        credentials = self._signer()
        life = min(expires_in or self._default_life, self._longest_life(credentials, now))
        if not_after:
            life = min(life, int((not_after - now.replace(microsecond=0)).total_seconds()))
            if life < 1:
                raise LinkExpired("The link has expired. Ask for a new one.")
        disposition = "attachment" if download else "inline"
        signed = sigv4.presign(
            "GET",
            f"{url.scheme}://{url.netloc}",
            url.path + self._objects_path + key,
            credentials=credentials,
            region=self._region,
            now=now,
            expires_in=life,
            parameters={
                # Private, since the link is a secret, and no longer than it works; a key's bytes never change.
                "response-cache-control": f"private, max-age={life}, immutable",
                "response-content-disposition": content_disposition(disposition, filename),
            },
        )
        return Link(signed.url, signed.expires_at, life)

    def can_last(self, life: int | None) -> bool:
        """Tell whether a link of `life` seconds (or the default) would last: one can't outlive its credentials.

        Where nobody says when temporary ones end, an hour is taken for granted.
        """
        return (life or self._default_life) <= self._longest_life(self._signer(), self._now())

    def end_of(self, life: int | None) -> dt.datetime:
        """Return when a link for `life` seconds (or the default) from now on ends, in whole seconds."""
        return self._now().replace(microsecond=0) + dt.timedelta(seconds=life or self._default_life)

    @staticmethod
    def _longest_life(credentials: Credentials, now: dt.datetime) -> int:
        if credentials.expires_at:
            return max(1, int((credentials.expires_at - now).total_seconds()))
        return TEMPORARY_LIFE if credentials.session_token else sigv4.LONGEST_LIFE

    def verify(self, method: str, *, path: str, query: str, host: str) -> tuple[Mapping[str, str], int]:
        """Check a link that a client follows; return its `response-*` parameters and the seconds it has to live.

        `path` and `query` are percent-encoded, as received. A link that was signed for GET serves HEAD too: S3 is
        stricter, but HEAD tells nothing that GET does not. Raises SignatureInvalid or LinkExpired.
        """
        url = urlsplit(self._public_endpoint or "")
        now = self._now()
        verified = sigv4.verify(
            "GET" if method == "HEAD" else method,
            url.path + path,
            query,
            sigv4.host_header(url.scheme, url.netloc) or host,
            secret_for=self._secrets.get,
            region=self._region,
            now=now,
        )
        return verified.parameters, int((verified.expires_at - now).total_seconds())

    def form(self, key: str, *, content_type: str, size: int, origin: str, expires_at: dt.datetime) -> Form:
        """Sign a form that stores one file of this type and size under `key`, until `expires_at` at the latest.

        It ends earlier where its credentials do; what it says is when it really ends, in whole seconds.
        """
        url = urlsplit(self._public_endpoint or origin)
        now = self._now().replace(microsecond=0)
        credentials = self._signer()
        end = min(expires_at, now + dt.timedelta(seconds=self._longest_life(credentials, now)))
        end = end.astimezone(dt.UTC).replace(microsecond=0)
        fields = post_policy.sign_form(
            bucket=self._bucket,
            key=key,
            content_type=content_type,
            size=size,
            credentials=credentials,
            region=self._region,
            now=now,
            expires_at=end,
        )
        return Form(f"{url.scheme}://{url.netloc}{url.path}{self._objects_path}", fields, end)

    def verify_form(self, fields: Iterable[tuple[str, str]]) -> AllowedUpload:
        """Check the fields of a form that a client sends; return what it may store.

        Raises SignatureInvalid, LinkExpired, or InvalidRequest for what is missing or no signature at all.
        """
        return post_policy.verify_form(
            fields, bucket=self._bucket, secret_for=self._secrets.get, region=self._region, now=self._now()
        )


def _with_extension_of(key: str, filename: str) -> str:
    stem, _, extension = filename.rpartition(".")
    if not stem or extension.lower() not in _EXTENSIONS:
        stem = filename
    return f"{stem}.{key.rpartition('.')[2]}"


def content_disposition(disposition: str, filename: str) -> str:
    """Write the header of RFC 6266, with RFC 8187's form of a name that is not plain ASCII."""
    if _PLAIN.fullmatch(filename):
        return f'{disposition}; filename="{filename}"'
    fallback = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in filename)
    value = f'{disposition}; filename="{fallback}"'
    if fallback != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe='!#$&+-.^_`|~')}"
    return value
