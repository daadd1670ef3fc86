"""One round trip per capability with the client that openapi-python-client generates."""

import os
from io import BytesIO

from gridtokenx import Client
from gridtokenx.api.cache import get_cache_value, increment_cache_counter, put_cache_value
from gridtokenx.api.hosts import get_latest_host_metrics, post_heartbeat, post_host_metrics
from gridtokenx.api.json import get_json_document, patch_json_document, put_json_document
from gridtokenx.api.locks import acquire_lock, release_lock
from gridtokenx.api.ratelimit import check_limit, list_limiters
from gridtokenx.api.timeseries import get_series_range, post_series_samples
from gridtokenx.models import (
    CacheIncrement, HostAgentCpu, HostAgentMetrics, HostAgentSpace, HostCpu, HostHeartbeat, HostHeartbeatRequest,
    HostNetwork, HostSampleInput, HostSpace, LimitCheckRequest, LimitSlidingWindow, LockAcquireRequest, Outcome,
    SeriesSampleInput, SeriesSamplesInput,
)
from gridtokenx.types import File

NAME = "clients:openapi-python-client"
HOST = "openapi-python-client"
client = Client(base_url=os.environ["GRIDTOKENX_URL"], headers={"X-API-Key": os.environ["GRIDTOKENX_KEY"]})

grant = acquire_lock.sync(NAME, client=client, body=LockAcquireRequest(ttl_ms=30_000))
assert grant.fencing_token > 2**31, grant

every_byte = bytes(range(256))
stored = put_cache_value.sync_detailed(NAME, client=client, body=File(BytesIO(every_byte)), ttl_ms=60_000,
                                       cache_content_type="image/png", fencing_token=grant.fencing_token)
assert stored.status_code == 201, stored
read = get_cache_value.sync_detailed(NAME, client=client)
assert read.parsed.payload.read() == every_byte and read.headers["Content-Type"] == "image/png", read
late = put_cache_value.sync(NAME, client=client, body=File(BytesIO(b"late")), fencing_token=grant.fencing_token - 1)
assert (late.code, late.status, late.outcome) == ("stale-fence", 409, Outcome.NOT_APPLIED), late
released = release_lock.sync_detailed(NAME, client=client, lock_token=grant.token)
assert released.status_code == 204, released

repeatable = client.with_headers({"Idempotency-Key": NAME})
for _ in range(2):
    counter = increment_cache_counter.sync(f"{NAME}:counter", client=repeatable, body=CacheIncrement(by=1))
    assert counter.value == 1, counter

answer = post_series_samples.sync(NAME, client=client, body=SeriesSamplesInput([
    SeriesSampleInput(timestamp=1_767_225_600_000, value=0.392),
    SeriesSampleInput(timestamp=1_767_226_500_000, value=2),
]))
assert (answer.accepted, answer.refused) == (2, []), answer
window = get_series_range.sync(NAME, client=client, from_="1767225600000", to="2026-01-02T00:00:00Z")
assert [(point.timestamp, point.value) for point in window.samples] == [
    (1_767_225_600_000, 0.392), (1_767_226_500_000, 2)], window

put_json_document.sync(NAME, client=client, body={"name": "Ada", "limits": {"daily_kwh": 40.5}})
patched = patch_json_document.sync_detailed(NAME, client=client, body={"name": None, "limits": {"daily_kwh": 45}})
assert patched.status_code == 204, patched
assert get_json_document.sync(NAME, client=client) == {"limits": {"daily_kwh": 45}}

decision = check_limit.sync(client=client, body=LimitCheckRequest(limiter="orders", key=NAME))
assert decision.allowed and decision.remaining == decision.limit - 1, decision
limiters = {limiter.name: limiter.strategy for limiter in list_limiters.sync(client=client).items}
assert isinstance(limiters["orders"], LimitSlidingWindow) and limiters["orders"].limit == decision.limit, limiters

space = HostAgentSpace(total=2**40, used=2**39, available=2**39, usage_percent=50)
beat = HostHeartbeat(hostname="web-1.example.org", agent_version="2.1.0", agent_status="running", uptime=86_400,
                     metrics=HostAgentMetrics(HostAgentCpu(8, 37.5, [0.52, 0.58, 0.61]), space, space))
assert post_heartbeat.sync(client=client, body=HostHeartbeatRequest(beat, HOST, "clients")).success
space = HostSpace(total=2**40, used=2**39, free=2**39, usage_percent=50)
sample = HostSampleInput(HostCpu(8, [0.52, 0.58, 0.61], 12.5), space, space, HostNetwork(2**33, 1, 2, 3))
assert post_host_metrics.sync(HOST, client=client, body=[sample]).accepted == 1
latest = get_latest_host_metrics.sync(HOST, client=client)
assert (latest.metrics.cpu.usage, latest.metrics.network.bytes_in) == (12.5, 2**33), latest
