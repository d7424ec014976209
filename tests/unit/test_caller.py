"""Callers: what a scope includes, and whose images they see and make."""

import pytest

from src.common.errors import InsufficientScope
from src.models.caller import ADMIN, ANYBODY, IMAGE_SCOPES, METRICS, READ, SCOPES, WRITE, Caller, Scope, widest


def test_each_scope_includes_those_before_it() -> None:
    assert IMAGE_SCOPES == ("images:read", "images:write", "images:admin")
    for mine, scope in enumerate(IMAGE_SCOPES):
        for wanted, needed in enumerate(IMAGE_SCOPES):
            if wanted <= mine:
                Caller("ann", scope).require(needed)
            else:
                assert refused(Caller("ann", scope), needed).scope == needed


def test_the_metrics_are_for_those_with_a_scope_of_its_own_and_admins() -> None:
    assert {*SCOPES} == {*IMAGE_SCOPES, METRICS}
    Caller("ann", ADMIN).require(METRICS)
    Caller("ann", None, may_read_metrics=True).require(METRICS)
    for scope in (READ, WRITE):
        assert refused(Caller("ann", scope), METRICS).scope == METRICS
        assert refused(Caller("ann", None, may_read_metrics=True), scope).scope == scope


@pytest.mark.parametrize("scope", SCOPES)
def test_without_a_scope_nothing_goes(scope: Scope) -> None:
    error = refused(Caller("ann", None), scope)
    assert error.scope == scope
    assert scope in error.detail


def refused(caller: Caller, scope: Scope) -> InsufficientScope:
    with pytest.raises(InsufficientScope) as refusal:
        caller.require(scope)
    return refusal.value


@pytest.mark.parametrize(("scope", "owner"), [(None, "ann"), (READ, "ann"), (WRITE, "ann"), (ADMIN, None)])
def test_whose_images_one_sees(scope: Scope | None, owner: str | None) -> None:
    assert Caller("ann", scope).owner == owner


@pytest.mark.parametrize("scope", [None, *IMAGE_SCOPES])
@pytest.mark.parametrize("stated", [None, "ann", "", "bob", "Ann", "ann ", "anonymous"])
def test_whose_a_new_image_is(scope: Scope | None, stated: str | None) -> None:
    caller = Caller("ann", scope)
    if stated in (None, "ann"):
        assert caller.owner_of_new(stated) == "ann"
    elif scope == ADMIN:
        assert caller.owner_of_new(stated) == (stated or "ann")
    else:
        with pytest.raises(InsufficientScope) as refusal:
            caller.owner_of_new(stated)
        assert refusal.value.scope == ADMIN


def test_where_nobody_is_asked() -> None:
    assert (ANYBODY.user_id, ANYBODY.owner) == ("anonymous", None)
    for scope in SCOPES:
        ANYBODY.require(scope)
    assert ANYBODY.owner_of_new(None) == "anonymous"
    assert ANYBODY.owner_of_new("ann") == "ann"


@pytest.mark.parametrize(
    ("scopes", "found"),
    [
        ([], None),
        (["openid", "profile"], None),
        (["images:read"], READ),
        (["images:read", "images:write"], WRITE),
        (["images:write", "images:read"], WRITE),
        (["images:admin", "x"], ADMIN),
        (["images:ADMIN", "images:*", "images", "images:admin ", "*", "admin", "images:admin,images:read", ""], None),
    ],
)
def test_the_widest_of_some_scopes(scopes: list[str], found: Scope | None) -> None:
    assert widest(scopes) == found


def test_a_caller_stays_what_it_is() -> None:
    with pytest.raises(AttributeError):
        Caller("ann", READ).scope = ADMIN  # type: ignore[misc]
