"""Writes to the service with InfluxDB's own client for Python, and tells on one line of JSON what came of it.

Usage: influx_client.py URL KEY
"""

import json
import sys
from datetime import datetime, timezone

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions
from influxdb_client.rest import ApiException

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
START_S = int(START.timestamp())


def main(url, key):
    told = {}
    with InfluxDBClient(url=url, token=key, org="gridtokenx", enable_gzip=True) as client:
        told["ping"] = client.ping()
        told["health"] = client.health().status
        told["version"] = client.version()
        with client.write_api(write_options=SYNCHRONOUS) as write:
            point = Point("power plant").tag("meter", "MTR-001").tag("place", "a = b").field("import", 0.392).field("runs", 7).field("on", True)
            for _ in range(2):
                write.write(bucket="any", record=point.time(START, WritePrecision.NS))
            write.write(bucket="any", record=[{"measurement": "by_dict", "tags": {"t": "1"}, "fields": {"f": 1.5}, "time": START_S}], write_precision=WritePrecision.S)
            write.write(bucket="any", record=f"by_line f=2.5 {START_S * 1_000_000}", write_precision=WritePrecision.US)
            try:
                write.write(bucket="any", record=["good f=1 5", "bad", 'text f="words" 5'], write_precision=WritePrecision.MS)
            except ApiException as refused:
                body = json.loads(refused.body)
                told["refused"] = [refused.status, [error["pointer"] for error in body["errors"]]]
        # Batches in the background, as applications write.
        with client.write_api(write_options=WriteOptions(batch_size=500, flush_interval=100)) as write:
            for n in range(2_000):
                write.write("any", "gridtokenx", f"batch,meter={n % 4} f={n} {START_S + n}", WritePrecision.S)
    try:
        with InfluxDBClient(url=url, token="ak_" + "0" * 32, org="gridtokenx") as stranger:
            stranger.write_api(write_options=SYNCHRONOUS).write(bucket="any", record="stranger f=1")
    except ApiException as refused:
        told["stranger"] = refused.status
    print(json.dumps(told))


main(*sys.argv[1:])
