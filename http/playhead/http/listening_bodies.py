"""What REST takes for what was listened to, and for commands that answer the history's or the server's own doings."""

import re
from datetime import date, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from playhead.http.bodies import Acting, Fields, PageFields, SessionPath
from playhead.sessions.listening import DAYS_MAX
from playhead.sessions.requests import ModeRequest, OfflineRequest, RestoreRequest, SleepRequest

DAY_MIN = date(2000, 1, 1)
DAY_MAX = date(2999, 12, 31)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
SERVERS_OWN_ZONE = "localtime"
"""A name that some systems have for the zone of the machine: it means another one on each of them."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {SERVERS_OWN_ZONE}


def _zone_name(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be a time zone of the IANA database, such as `Europe/Berlin`")
    return name


def _day(value: object) -> object:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("must be a day as in `2026-11-30`")
    return value


Day = Annotated[date, BeforeValidator(_day), Field(ge=DAY_MIN, le=DAY_MAX)]
Zone = Annotated[str, AfterValidator(_zone_name)]


class ModeBody(Acting, ModeRequest):
    pass


class SleepBody(Acting, SleepRequest):
    pass


class RestoreBody(Acting, RestoreRequest):
    pass


class OfflineBody(Acting, OfflineRequest):
    pass


class HistoryPath(SessionPath):
    pass


class SessionsFields(PageFields):
    pass


class StatsFields(Fields):
    """Days, by the calendar of a time zone."""

    tz: Zone = Field(default="UTC", description="Whose midnights divide the days: a name of the IANA database.")
    from_: Day = Field(alias="from", description="The first day.")
    to: Day = Field(description=f"The last day; at most {DAYS_MAX} days in all.")

    @model_validator(mode="after")
    def _in_order(self) -> "StatsFields":
        if not 0 <= (self.to - self.from_).days < DAYS_MAX:
            raise ValueError(f"`to` must not lie before `from`, and at most {DAYS_MAX} days may be asked for at once")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.tz)

    @property
    def days(self) -> list[date]:
        return [self.from_ + timedelta(days=number) for number in range((self.to - self.from_).days + 1)]
