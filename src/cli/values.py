"""Values that options take."""

import datetime as dt
import re

import click

from ..common.validation import normal_moment

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType[dt.timedelta]):
    """A number with a unit: 30s, 15m, 1h, 2d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.timedelta:
        if isinstance(value, dt.timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if match is None:
            self.fail(f"got {value!r}, wants a number with a unit such as 90s, 15m, 1h or 2d", param, ctx)
        return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


class Moment(click.ParamType[dt.datetime]):
    """A day (from its beginning, in UTC) or an RFC 3339 time."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        text = str(value)
        try:
            return normal_moment(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
        except ValueError:
            self.fail(
                f"got {value!r}, wants a day such as 2026-01-31 or a time such as 2026-01-31T09:30:00Z", param, ctx
            )
