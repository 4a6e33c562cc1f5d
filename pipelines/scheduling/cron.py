"""When a cron expression is due."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from sanaflow.errors import InputError, nearest

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def cron_trigger(cron: str, timezone: str) -> BaseTrigger:
    """Due times as Unix cron and Kubernetes have them; a sixth field, in front, is of seconds.

    APScheduler differs: its 0 is Monday, and if both days are given it wants both. Here either is enough, as in cron.

    Raises:
        InputError: The expression or the time zone is wrong, or it is never due.
    """
    if timezone not in available_timezones():
        hint = nearest(timezone, available_timezones())
        raise InputError(f"--timezone '{timezone}': {hint if '?' in hint else 'unknown: write it as Europe/Berlin'}")
    fields = cron.split()
    if len(fields) not in (5, 6):
        said = "minute, hour, day of the month, month and day of the week"
        raise InputError(f"--cron '{cron}': it has {len(fields)} fields instead of five: {said}")
    second, minute, hour, day, month, weekday = ["0", *fields][-6:]
    time = {"second": second, "minute": minute, "hour": hour, "month": month, "timezone": ZoneInfo(timezone)}
    either = "*" not in (day[0], weekday[0])
    try:
        days = ({"day": day}, {"day_of_week": _weekdays(weekday)})
        triggers = [CronTrigger(**time, **one) for one in (days if either else (days[0] | days[1],))]
    except ValueError as error:
        raise InputError(f"--cron '{cron}': {error}") from None
    trigger = OrTrigger(triggers)
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise InputError(f"--cron '{cron}': there is no such day")
    return trigger


def _weekdays(field: str) -> str:
    """The field of cron, with 0 and 7 for Sunday, in APScheduler's names."""
    numbers = re.sub("|".join(DAYS), lambda name: str(DAYS.index(name[0])), field.lower())
    chosen: set[int] = set()
    for part in numbers.split(","):
        if not (found := re.fullmatch(r"(\*|[0-7])(?:-([0-7]))?(?:/([1-7]))?", part)):
            raise ValueError(f"'{part}' is no day of the week: 0 to 6 from Sunday, or sun to sat")
        first, last, step = found.groups()
        start, end = (0, 6) if first == "*" else (int(first), int(last or (6 if step else first)))
        if start > end:
            raise ValueError(f"'{part}' goes backwards: write the days with commas")
        chosen |= {number % 7 for number in range(start, end + 1, int(step or 1))}
    return ",".join(DAYS[number] for number in sorted(chosen))
