"""What operations say of themselves for the OpenAPI document, which is made of it when somebody asks for that.

To make it takes longer than to start, so nothing of it is loaded here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ..models.wire import Problem

type Model = type[msgspec.Struct] | None

IMAGE_ID = {"image_id": "The id that the upload answered with."}
MERGE_PATCH = "application/merge-patch+json"
STORE_PROBLEMS: Mapping[int, Model] = {502: Problem, 503: Problem}
# Of what takes a body, or an Idempotency-Key.
POST_PROBLEMS: Mapping[int, Model] = {
    **dict.fromkeys((400, 409, 413, 415, 422), Problem),
    **STORE_PROBLEMS,
}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation takes and answers; an answer may have a text of its own."""

    operation_id: str
    tags: Sequence[str]
    answers: Mapping[int, Model | tuple[Model, str]]
    query: Model = None
    headers: Model = None
    form: Model = None
    json: Model = None
    path_parameters: Mapping[str, str] = {}


def described[F: Callable[..., Any]](**what: Any) -> Callable[[F], F]:
    """Return the decorator that notes the fields of a Description."""

    def note(operation: F) -> F:
        operation.description = Description(**what)  # type: ignore[attr-defined]
        return operation

    return note


def description_of(operation: Any) -> Description | None:
    return getattr(operation, "description", None)
