"""`GET /tags` and `GET /usage`: what there is, in numbers."""

from starlette.requests import Request
from starlette.responses import Response

from ..models.caller import READ, Caller
from ..models.usage import TagQuery, Usage
from ..models.wire import Problem, TagCursor, TagList
from .admission import needs
from .answers import json_response, next_link, services_of
from .descriptions import STORE_PROBLEMS, described
from .parameters import Reader, query_values
from .queries import TagParameters, UsageParameters

_tag_parameters = Reader(TagParameters)
_usage_parameters = Reader(UsageParameters)


@described(
    query=TagParameters,
    answers={200: TagList, 400: Problem, **STORE_PROBLEMS},
    tags=("counts",),
    operation_id="list_tags",
)
@needs(READ)
async def list_tags(request: Request, caller: Caller) -> Response:
    """List the tags that images have, each with how many have it, page by page."""
    parameters = _tag_parameters.read(query_values(request))
    page = await services_of(request).images.tags(
        TagQuery(
            user_id=parameters.user_id, prefix=parameters.prefix, limit=parameters.limit, after=parameters.last_key
        ),
        owner=caller.owner,
    )
    last_key = None if page.after is None else TagCursor(page.after)
    body = TagList(tags=page.tags, count=len(page.tags), last_key=last_key)
    return json_response(body, headers=next_link(request, "/tags", last_key))


@described(
    query=UsageParameters,
    answers={200: Usage, 400: Problem, **STORE_PROBLEMS},
    tags=("counts",),
    operation_id="get_usage",
)
@needs(READ)
async def get_usage(request: Request, caller: Caller) -> Response:
    """Count the images, and the bytes of their originals."""
    parameters = _usage_parameters.read(query_values(request))
    return json_response(await services_of(request).images.usage(parameters.user_id, owner=caller.owner))
