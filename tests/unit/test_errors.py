"""Errors: the tree that is drawn is the tree there is, and each has a code, a title and a status."""

from collections.abc import Iterator

import pytest

from src.common import errors
from src.common.errors import FieldError, InvalidRequest, ServiceError
from src.handlers.problems import STATUS, status_of
from src.repositories import ports

# What the API's documentation promises.
STATUSES = {
    "invalid_request": 400,
    "token_missing": 401,
    "token_invalid": 401,
    "insufficient_scope": 403,
    "origin_refused": 403,
    "signature_invalid": 403,
    "link_expired": 403,
    "quota_exceeded": 403,
    "too_many_renditions": 403,
    "image_not_found": 404,
    "upload_not_found": 404,
    "object_not_found": 404,
    "route_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "image_exists": 409,
    "upload_incomplete": 409,
    "upload_completed": 409,
    "upload_changed": 409,
    "request_in_progress": 409,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "unsupported_request_body": 415,
    "unsupported_image_format": 415,
    "range_not_satisfiable": 416,
    "undecodable_image": 422,
    "too_many_pixels": 422,
    "active_content": 422,
    "dimensions_mismatch": 422,
    "upload_mismatch": 422,
    "idempotency_key_reused": 422,
    "too_many_requests": 429,
    "too_many_uploads": 429,
    "request_head_too_large": 431,
    "internal_error": 500,
    "store_failed": 502,
    "store_unavailable": 503,
    "overloaded": 503,
    "keys_unavailable": 503,
    "outcome_unknown": 503,
}


def descendants(cls: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from descendants(child)


ALL = list(descendants(ServiceError))
# The others are what handlers catch, and nobody raises them.
RAISED = [cls for cls in ALL if not (cls.__doc__ or "").startswith("Abstract:")]


def drawn() -> dict[str, str]:
    """Return class -> parent as the module's docstring draws them."""
    parents: dict[str, str] = {}
    path = ["ServiceError"]
    for line in (errors.__doc__ or "").splitlines():
        if "── " not in line:
            continue
        depth = line.index("── ") // 4 + 1
        name = line.partition("── ")[2].split()[0]
        path[depth:] = [name]
        assert name not in parents
        parents[name] = path[depth - 1]
    return parents


def test_the_tree_that_is_drawn_is_the_tree() -> None:
    assert drawn() == {cls.__name__: cls.__mro__[1].__name__ for cls in ALL}


def test_every_error_has_its_own_code_and_title() -> None:
    """Programs tell errors apart by the code, people by the title."""
    for texts in ([cls.code for cls in RAISED], [cls.title for cls in RAISED]):
        assert all(texts)
        assert len(set(texts)) == len(texts)
    assert all(cls.code == cls.code.lower() and cls.code.replace("_", "").isalpha() for cls in RAISED)


def test_what_only_the_stores_raise_has_a_code() -> None:
    """By which metrics count it: it is no fault of theirs."""
    of_ports = [each for each in vars(ports).values() if isinstance(each, type) and issubclass(each, Exception)]
    codes = [vars(cls)["code"] for cls in of_ports]
    assert len(set(codes)) == len(codes) >= 3
    assert set(codes).isdisjoint(STATUSES)


@pytest.mark.parametrize("cls", RAISED)
def test_every_error_has_its_status(cls: type[ServiceError]) -> None:
    assert status_of(cls) == STATUSES[cls.code]


def test_nothing_else_has_a_status() -> None:
    assert set(STATUS) <= set(ALL)
    assert {cls.code for cls in RAISED} == set(STATUSES)


def test_whatever_is_abstract_has_children() -> None:
    assert all(cls.__subclasses__() for cls in ALL if cls not in RAISED)


def test_an_invalid_request_says_all_its_fields() -> None:
    faults = (FieldError("limit", "wants an integer"), FieldError("order", "wants a word"))
    error = InvalidRequest.of(*faults)
    assert str(error) == error.detail == "limit: wants an integer; order: wants a word"
    assert error.errors == faults
    assert InvalidRequest.field("limit", "wants an integer").errors == faults[:1]


def test_a_configuration_error_is_not_answered_to_clients() -> None:
    assert not issubclass(errors.ConfigurationError, ServiceError)
