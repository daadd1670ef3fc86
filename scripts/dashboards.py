#!/usr/bin/env python3
"""Writes the dashboards in config/grafana/dashboards. A test compares them with what this script prints.

scripts/dashboards.py             writes the files
scripts/dashboards.py --check     fails if a file differs
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "config" / "grafana" / "dashboards"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The width of a row.
WIDTH = 24
HEIGHT = 8

# Matchers of the two jobs; every expression contains one of them.
SERVICE = 'job=~"$job", instance=~"$instance"'
REDIS = 'job="redis", instance=~"$instance"'

STORE = "{{store}} {{node}}"


def panel(title, unit, description, *targets, kind="timeseries", width=8):
    """A panel. Each target is an expression and the legend of its series."""
    return {
        "title": title, "unit": unit, "description": description, "targets": targets, "kind": kind, "width": width
    }


def stat(title, unit, description, expression, width=4):
    # Legends name the labels by which an expression adds up its series.
    legend = next((text
        for label, text in (("by (store", STORE), ("by (instance", "{{instance}}")) if label in expression), title)
    return panel(title, unit, description, (expression, legend), kind="stat", width=width)


def rate(metric, by, matchers="", job=SERVICE):
    matchers = f"{job}, {matchers}" if matchers else job
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def percentile(share, metric, by, matchers="", job=SERVICE):
    return f"histogram_quantile({share}, {rate(metric + '_bucket', 'le, ' + by, matchers, job)})"


def gauge(metric, by, matchers="", job=SERVICE, how="max"):
    matchers = f"{job}, {matchers}" if matchers else job
    return f"{how} by ({by}) ({metric}{{{matchers}}})"


def redis(metric, how="max"):
    return gauge(metric, "store, node", job=REDIS, how=how)


def redis_rate(metric, by="store, node"):
    return rate(metric, by, job=REDIS)


BOARDS = {
    "redis": ("GridTokenX Redis Monitoring", "The Redis servers, as the service last saw them.", [
        stat("Up", "bool_on_off", "Whether the server answers", redis("redis_up")),
        stat("Memory used", "percentunit", "The used share of maxmemory; nothing without a limit",
            f"max by (store, node) (redis_memory_used_bytes{{{REDIS}}} / (redis_memory_max_bytes{{{REDIS}}} > 0))"),
        stat("Clients", "short", "Connections of all clients", redis("redis_connected_clients")),
        stat("Commands", "ops", "Commands per second", redis_rate("redis_commands_processed_total")),
        stat("Replicas", "short", "Connected replicas", redis("redis_connected_slaves")),
        stat("Uptime", "s", "Time since the start", redis("redis_uptime_in_seconds")),
        panel("Memory", "bytes", "Allocated and resident memory, and the limit",
            (redis("redis_memory_used_bytes"), f"used {STORE}"),
            (redis("redis_memory_used_rss_bytes"), f"resident {STORE}"),
            (redis("redis_memory_max_bytes"), f"limit {STORE}")),
        panel("CPU", "percentunit", "Cores in use, by kind of time",
            (redis_rate("redis_cpu_user_seconds_total"), f"user {STORE}"),
            (redis_rate("redis_cpu_sys_seconds_total"), f"system {STORE}")),
        panel("Lookups", "ops", "Lookups of keys that exist and that do not",
            (redis_rate("redis_keyspace_hits_total"), f"hits {STORE}"),
            (redis_rate("redis_keyspace_misses_total"), f"misses {STORE}")),
        panel("Network", "Bps", "Bytes received and sent", (redis_rate("redis_net_input_bytes_total"), f"in {STORE}"),
            (redis_rate("redis_net_output_bytes_total"), f"out {STORE}")),
        panel("Connections", "short", "Connections and their limit",
            (redis("redis_connected_clients"), f"open {STORE}"),
            (redis("redis_blocked_clients"), f"blocked {STORE}"), (redis("redis_config_maxclients"), f"limit {STORE}")),
        panel("Commands by kind", "ops", "The busiest commands",
            (f"topk(10, {redis_rate('redis_commands_total', 'cmd')})", "{{cmd}}")),
        panel("Time by command", "percentunit", "The share of time that each command takes",
            (f"topk(10, {redis_rate('redis_commands_duration_seconds_total', 'cmd')})", "{{cmd}}")),
        panel("Keys", "short", "Keys, and those with a TTL",
            (gauge("redis_db_keys", "store, db", job=REDIS), "all {{store}} {{db}}"),
            (gauge("redis_db_keys_expiring", "store, db", job=REDIS), "with a TTL {{store}} {{db}}")),
        panel("Expired and evicted keys", "ops", "Evictions on the state role lose data",
            (redis_rate("redis_expired_keys_total"), f"expired {STORE}"),
            (redis_rate("redis_evicted_keys_total"), f"evicted {STORE}")),
        panel("Persistence", "short", "1: the last save, write and rewrite succeeded",
            (redis("redis_rdb_last_bgsave_status", "min"), f"snapshot {STORE}"),
            (redis("redis_aof_last_write_status", "min"), f"append-only file {STORE}"),
            (redis("redis_aof_last_bgrewrite_status", "min"), f"rewrite {STORE}")),
        panel("Unsaved changes", "short", "Changes since the last snapshot",
            (redis("redis_rdb_changes_since_last_save"), STORE)),
        panel("Replication distance", "bytes", "How far each replica is behind",
            (f"redis_master_repl_offset{{{REDIS}}} - on (instance, store, node) group_right () "
                f"redis_connected_slave_offset_bytes{{{REDIS}}}", "{{slave_ip}}:{{slave_port}}")),
        panel("Slow commands", "short", "Entries in the log of slow commands", (redis("redis_slowlog_length"), STORE)),
        panel("Clock", "s", "How far the server's clock is ahead of the service's",
            (redis("redis_clock_offset_seconds"), STORE))
    ]),
    "service": ("GridTokenX Service", "Requests, errors, latency, and the process.", [
        stat("Replicas", "short", "Replicas that are scraped", 'sum(up{job=~"$job", instance=~"$instance"})'),
        stat("Requests", "reqps", "Requests per second",
            f"sum(rate(http_requests_total{{{SERVICE}}}[$__rate_interval]))"),
        stat(
            "Errors", "percentunit", "The share of responses 5xx",
            f'(sum(rate(http_requests_total{{{SERVICE}, status=~"5.."}}[$__rate_interval])) or vector(0)) / '
            f"sum(rate(http_requests_total{{{SERVICE}}}[$__rate_interval]))"),
        stat(
            "p99", "s", "The time within which 99 of 100 requests are answered",
            "histogram_quantile(0.99, sum by (le) "
            f"(rate(http_request_duration_seconds_bucket{{{SERVICE}}}[$__rate_interval])))"
        ),
        stat("Connections", "short", "Open client connections", gauge("http_connections", "instance")),
        stat("Worst part", "short", "0 ok, 1 degraded, 2 down", gauge("health_condition", "instance")),
        panel("Requests by route", "reqps", "The ten busiest routes",
            (f"topk(10, {rate('http_requests_total', 'route')})", "{{route}}")),
        panel("Errors by route", "reqps", "Responses 5xx",
            (rate("http_requests_total", "route, status", 'status=~"5.."'), "{{route}} {{status}}")),
        panel("p99 by route", "s", "The ten slowest routes",
            (f"topk(10, {percentile(0.99, 'http_request_duration_seconds', 'route')})", "{{route}}")),
        panel("In flight", "short", "Requests in progress",
            (gauge("http_requests_in_flight", "instance"), "{{instance}}")),
        panel("Parts", "short", "0 ok, 1 degraded, 2 down", (gauge("health_condition", "part"), "{{part}}")),
        panel("Failures of tasks", "short", "Failed rounds of background tasks",
            (f"sum by (task) (increase(task_failures_total{{{SERVICE}}}[$__rate_interval]))", "{{task}}")),
        panel("Redis from the service", "s", "The time of an exchange with Redis",
            (percentile(0.5, "redis_command_duration_seconds", "role"), "p50 {{role}}"),
            (percentile(0.99, "redis_command_duration_seconds", "role"), "p99 {{role}}")),
        panel("Exchanges with Redis", "ops", "By outcome", (rate("redis_commands_total", "outcome"), "{{outcome}}")),
        panel("Connections to Redis", "short", "Shared connections that are up",
            (gauge("redis_connection_state", "instance, role"), "{{instance}} {{role}}")),
        panel("CPU", "percentunit", "Cores in use", (rate("process_cpu_seconds_total", "instance"), "{{instance}}")),
        panel("Memory", "bytes", "Resident memory",
            (gauge("process_resident_memory_bytes", "instance"), "{{instance}}")),
        panel("Files", "percentunit", "The used share of file descriptors",
            (f"max by (instance) (process_open_fds{{{SERVICE}}} / process_max_fds{{{SERVICE}}})", "{{instance}}"))
    ]),
    "coordination": ("GridTokenX Coordination", "Locks and rate limits.", [
        stat("Waiting", "short", "Clients that wait for a lock", gauge("lock_waiting", "instance", how="sum")),
        stat("Held", "short", "Locks that are held, at all replicas", gauge("lock_held", "instance")),
        stat("Exceptions", "short", "Keys with another limit", gauge("ratelimit_exceptions", "instance")),
        panel("Attempts to acquire", "ops", "By result", (rate("lock_attempts_total", "result"), "{{result}}")),
        panel("Events of leases", "ops", "Lost leases are shorter than the work",
            (rate("lock_events_total", "event"), "{{event}}")),
        panel("Contention", "percentunit", "The share of attempts that found the lock held",
            (f"sum(rate(lock_contended_total{{{SERVICE}}}[$__rate_interval])) / "
                f"sum(rate(lock_attempts_total{{{SERVICE}}}[$__rate_interval]))", "contended")),
        panel("Wait for a lock", "s", "Time in the queue",
            (f"histogram_quantile(0.95, sum by (le) (rate(lock_wait_seconds_bucket{{{SERVICE}}}[$__rate_interval])))",
                "p95")),
        panel("Decisions", "ops", "By decision", (rate("ratelimit_decisions_total", "decision"), "{{decision}}")),
        panel("Refusals by limiter", "ops", "Refused checks",
            (rate("ratelimit_decisions_total", "limiter", 'decision="refused"'), "{{limiter}}")),
        panel("Without Redis", "ops", "Checks that were decided without Redis",
            (rate("ratelimit_decisions_total", "limiter", 'decision="degraded"'), "{{limiter}}")),
        panel("Time of a check", "s", "p99 by limiter",
            (percentile(0.99, "ratelimit_check_seconds", "limiter"), "{{limiter}}"))
    ]),
    "market": ("GridTokenX Market and Energy", "Order books, trades, series, channels and hosts.", [
        stat("Channels' clients", "short", "Open real-time connections", gauge("pubsub_connections", "instance",
            how="sum")),
        stat("Hosts", "short", "Hosts in memory", gauge("host_memory_hosts", "instance")),
        stat("Follower lag", "s", "How long the oldest change of a book waits",
            gauge("orderbook_follower_lag_seconds", "instance")),
        panel("Operations on order books", "ops", "By operation and result",
            (rate("orderbook_operations_total", "operation, result"), "{{operation}} {{result}}")),
        panel("Time of an operation", "s", "p99 by operation",
            (percentile(0.99, "orderbook_seconds", "operation"), "{{operation}}")),
        panel("Price levels", "short", "Of all books, by side", (gauge("orderbook_depth", "side"), "{{side}}")),
        panel("Resting orders", "short", "By symbol", (gauge("orderbook_orders", "symbol"), "{{symbol}}")),
        panel("Trades", "ops", "Reported trades by result", (rate("trades_total", "result"), "{{result}}")),
        panel("Trades in candles", "ops", "Trades that were added to candles",
            (rate("trades_folded_total", "result"), "{{result}}")),
        panel("Samples", "ops", "Samples of series by result",
            (rate("timeseries_samples_total", "result"), "{{result}}")),
        panel("Scripts of series", "s", "p99 by script",
            (percentile(0.99, "timeseries_script_duration_seconds", "script"), "{{script}}")),
        panel("Chunks", "ops", "Packed and unpacked chunks", (rate("timeseries_chunks_total", "change"), "{{change}}")),
        panel("Published messages", "ops", "By namespace",
            (rate("pubsub_published_total", "namespace"), "{{namespace}}")),
        panel("Delivered messages", "ops", "By transport",
            (rate("pubsub_delivered_total", "transport"), "{{transport}}")),
        panel("Delivery", "s", "p99 from the publication of a message to its clients",
            (percentile(0.99, "pubsub_delivery_seconds", "instance"), "{{instance}}")),
        panel("Gaps", "ops", "Gaps that clients were told of", (rate("pubsub_gaps_total", "reason"), "{{reason}}")),
        panel("Cache", "ops", "Operations by result",
            (rate("cache_operations_total", "operation, result"), "{{operation}} {{result}}")),
        panel("Documents", "ops", "Operations by result",
            (rate("json_operations_total", "operation, result"), "{{operation}} {{result}}")),
        panel("Host samples", "ops", "By event", (rate("host_samples_total", "event"), "{{event}}")),
        panel("Unstored host samples", "short", "Samples that wait for Redis, and their limit",
            (gauge("host_samples_unstored", "instance"), "waiting {{instance}}"),
            (gauge("host_samples_unstored_limit", "instance"), "limit {{instance}}"))
    ]),
    "custody": ("GridTokenX Custody", "Where data are kept: files, disks, failovers and configuration.", [
        stat("Failovers", "short", "Failovers within a day",
            f"sum by (instance) (increase(redis_failovers_total{{{SERVICE}}}[1d]))"),
        stat("Last snapshot", "s", "Age of the last snapshot",
            f"time() - max by (store) (redis_rdb_last_save_timestamp_seconds{{{REDIS}}})"),
        stat("Append-only file", "bool_on_off", "Whether it is on", redis("redis_aof_enabled", "min")),
        panel("Append-only file", "bytes", "Its size", (redis("redis_aof_current_size_bytes"), STORE)),
        panel("Free space", "percentunit", "Of the disks of the service's directories",
            (f"min by (instance, dir) (disk_free_bytes{{{SERVICE}}} / disk_size_bytes{{{SERVICE}}})",
                "{{instance}} {{dir}}")),
        panel("Spool of host samples", "bytes", "Its size and its limit",
            (gauge("host_spool_bytes", "instance"), "size {{instance}}"),
            (gauge("host_spool_limit_bytes", "instance"), "limit {{instance}}")),
        panel("Copy on write", "bytes", "Memory copied during the last snapshot",
            (redis("redis_rdb_last_cow_size_bytes"), STORE)),
        panel("Fork", "µs", "Duration of the latest fork", (redis("redis_latest_fork_usec"), STORE)),
        panel("Reloads of the configuration", "short", "By result",
            (f"sum by (result) (increase(config_reloads_total{{{SERVICE}}}[$__rate_interval]))", "{{result}}")),
        panel("Rounds of tasks", "s", "Age of the last round of each periodic task",
            (f"time() - max by (task) (task_last_run_timestamp_seconds{{{SERVICE}}})", "{{task}}"))
    ])
}


def place(panels):
    """Puts panels from left to right into rows."""
    x = y = tallest = 0
    for each in panels:
        height = 4 if each["kind"] == "stat" else HEIGHT
        if x + each["width"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        yield {"h": height, "w": each["width"], "x": x, "y": y}
        x, tallest = x + each["width"], max(tallest, height)


def render_panel(number, each, position):
    custom = {} if each["kind"] == "stat" else {"custom": {"fillOpacity": 10, "showPoints": "never"}}
    return {
        "id": number,
        "type": each["kind"],
        "title": each["title"],
        "description": each["description"],
        "datasource": DATA_SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": each["unit"], **custom}, "overrides": []},
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": DATA_SOURCE, "expr": expression, "legendFormat": legend}
            for at, (expression, legend) in enumerate(each["targets"])
        ],
    }


VARIABLES = [
    {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
     "current": {"text": "Prometheus", "value": "gtx-prometheus"}},
    {"type": "constant", "name": "job", "query": "gridtokenx-redis", "hide": 2,
     "current": {"text": "gridtokenx-redis", "value": "gridtokenx-redis"}},
    {"type": "query", "name": "instance", "label": "Instance", "datasource": DATA_SOURCE,
     "query": "label_values(build_info, instance)", "includeAll": True, "allValue": ".*", "multi": True, "refresh": 2,
     "sort": 1, "current": {"text": "All", "value": "$__all"}},
]


def render(uid, title, description, panels):
    return {
        "id": None,
        "uid": f"gtx-{uid}",
        "title": title,
        "description": description,
        "tags": ["gridtokenx"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": VARIABLES},
        "panels": [render_panel(at + 1, each, position) for at, (each, position) in enumerate(zip(panels, place(panels)))],
    }


def main():
    differing = []
    for uid, (title, description, panels) in BOARDS.items():
        assert len(panels) <= 20, f"{title} has {len(panels)} panels"
        text = json.dumps(render(uid, title, description, panels), indent=1, ensure_ascii=False) + "\n"
        path = FOLDER / f"{uid}.json"
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                differing.append(str(path))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if differing:
        sys.exit("not what scripts/dashboards.py writes: " + ", ".join(differing))


if __name__ == "__main__":
    main()
