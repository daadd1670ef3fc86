"""Sums of a year of 15-minute readings by local calendar units, computed with zoneinfo.

usage: calendar_sums.py ZONE FIRST_MS COUNT

Reading n, 0 <= n < COUNT, is measured at FIRST_MS + n * 900,000 ms and is (n * 7919 % 1000) / 8, which sums exactly.
Every reading is put under the local date it falls on, so that no boundary is computed the way the service does it.
Prints one JSON object: for each unit its buckets as [start in Unix milliseconds, readings, sum].
"""
import datetime
import json
import sys
import zoneinfo

QUARTER_MS = 900_000
UTC = datetime.timezone.utc


def unit_keys(local, midnight_ms, time_ms):
    """The bucket of each unit that a local time falls into."""
    date = local.date()
    monday = date - datetime.timedelta(days=date.weekday())
    return {
        "1d": (date, 0),
        "1w": (monday, 0),
        "1mo": (date.replace(day=1), 0),
        "3mo": (date.replace(month=(date.month - 1) // 3 * 3 + 1, day=1), 0),
        "1y": (date.replace(month=1, day=1), 0),
        # Parts of a day count from its midnight on.
        "1h": (date, (time_ms - midnight_ms) // 3_600_000 * 3_600_000),
        "6h": (date, (time_ms - midnight_ms) // 21_600_000 * 21_600_000),
    }


def midnight(date, zone):
    start = datetime.datetime(date.year, date.month, date.day, tzinfo=zone)
    return round(start.timestamp() * 1000)


def main():
    zone, first, count = zoneinfo.ZoneInfo(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    buckets = {}
    for n in range(count):
        time_ms = first + n * QUARTER_MS
        local = datetime.datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone)
        keys = unit_keys(local, midnight(local.date(), zone), time_ms)
        for unit, key in keys.items():
            entry = buckets.setdefault(unit, {}).setdefault(key, [0, 0.0])
            entry[0] += 1
            entry[1] += n * 7919 % 1000 / 8
    answer = {
        unit: [[midnight(date, zone) + offset, readings, total] for (date, offset), (readings, total) in found.items()]
        for unit, found in buckets.items()
    }
    json.dump(answer, sys.stdout)


main()
