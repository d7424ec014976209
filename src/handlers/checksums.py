"""`GET /checksums`: which files need not be sent, since their owner has them already."""

from starlette.requests import Request
from starlette.responses import Response

from ..models.caller import READ, Caller
from ..models.wire import ChecksumList, KnownChecksum, Problem
from .admission import needs
from .answers import json_response, services_of
from .descriptions import STORE_PROBLEMS, described
from .parameters import Reader, query_values
from .queries import ChecksumParameters

_parameters = Reader(ChecksumParameters)


@described(
    query=ChecksumParameters,
    answers={200: ChecksumList, 400: Problem, **STORE_PROBLEMS},
    tags=("images",),
    operation_id="find_checksums",
)
@needs(READ)
async def find_checksums(request: Request, caller: Caller) -> Response:
    """Tell which of some files an owner has, each with the image that `on_duplicate=return` would answer with."""
    parameters = _parameters.read(query_values(request))
    user_id = parameters.user_id or caller.user_id
    found = await services_of(request).images.find_by_checksum(user_id, parameters.sha256, owner=caller.owner)
    known = tuple(KnownChecksum(sha256, found[sha256]) for sha256 in parameters.sha256 if sha256 in found)
    return json_response(ChecksumList(checksums=known, count=len(known)))
