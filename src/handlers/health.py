"""Liveness, readiness, and what this deployment accepts."""

from starlette.requests import Request
from starlette.responses import Response

from ..common import validation
from ..common.sigv4 import LONGEST_LIFE
from ..models.image import FORMAT_BY_NAME, FORMATS, LONGEST_EDGE, MAX_FRAMES, MAX_PAGES, Format
from ..models.page import MAX_LIMIT
from ..models.rendition import DEFAULT_QUALITY, MAX_EDGE
from ..models.wire import AcceptedFormat, Health, Limits, Problem
from .answers import body_limits_of, json_response, services_of
from .descriptions import STORE_PROBLEMS, described
from .parameters import no_parameters, query_values


@described(answers={200: Health}, tags=("service",), operation_id="get_healthz")
async def healthz(request: Request) -> Response:
    """Tell that the process answers."""
    return json_response(Health("ok"))


@described(
    answers={200: Health, **STORE_PROBLEMS},
    tags=("service",),
    operation_id="get_readyz",
)
async def readyz(request: Request) -> Response:
    """Tell that both stores answer."""
    services = services_of(request)
    await services.repository.ping()
    await services.objects.ping()
    return json_response(Health("ready"))


@described(answers={200: Limits, 400: Problem}, tags=("service",), operation_id="get_limits")
async def limits(request: Request) -> Response:
    """Tell what this deployment accepts."""
    no_parameters.read(query_values(request))
    settings = services_of(request).settings
    bodies = body_limits_of(request)
    return json_response(
        Limits(
            formats=_formats(*FORMATS),
            max_image_size=settings.max_image_size,
            max_image_pixels=settings.max_image_pixels,
            max_image_edge=LONGEST_EDGE,
            max_frames=MAX_FRAMES,
            max_pages=MAX_PAGES,
            max_body_size=bodies.binary,
            max_json_body_size=bodies.json,
            rendition_formats=_formats(*(FORMAT_BY_NAME[name] for name in DEFAULT_QUALITY)),
            max_rendition_edge=MAX_EDGE,
            max_tags=validation.MAX_TAGS,
            max_tag_length=validation.MAX_TAG_LENGTH,
            max_description_length=validation.MAX_DESCRIPTION_LENGTH,
            max_filename_length=validation.MAX_FILENAME_LENGTH,
            max_page_limit=MAX_LIMIT,
            max_expires_in=LONGEST_LIFE,
            default_expires_in=settings.presigned_url_expiration,
            quota_images=settings.quota_images,
            quota_bytes=settings.quota_bytes,
        )
    )


def _formats(*formats: Format) -> list[AcceptedFormat]:
    return [AcceptedFormat(format_.name, format_.content_type) for format_ in formats]
