"""One round trip per capability with the client that openapi-generator generates for Python."""

import os

from gridtokenx import (
    ApiClient, ApiException, CacheApi, CacheIncrement, Configuration, HostAgentCpu, HostAgentMetrics, HostAgentSpace,
    HostCpu, HostHeartbeat, HostHeartbeatRequest, HostNetwork, HostSampleInput, HostSpace, HostsApi, JsonApi,
    LimitCheckRequest, LimitSlidingWindow, LockAcquireRequest, LocksApi, RatelimitApi, SeriesSampleInput,
    SeriesSamplesInput, TimeseriesApi,
)

NAME = "clients:openapi-generator-python"
HOST = "openapi-generator-python"
configuration = Configuration(host=os.environ["GRIDTOKENX_URL"], api_key={"api_key": os.environ["GRIDTOKENX_KEY"]})
client = ApiClient(configuration)
locks, cache, series, documents = LocksApi(client), CacheApi(client), TimeseriesApi(client), JsonApi(client)
limits, hosts = RatelimitApi(client), HostsApi(client)

grant = locks.acquire_lock(NAME, LockAcquireRequest(ttl_ms=30_000))
assert grant.fencing_token > 2**31, grant

every_byte = bytes(range(256))
stored = cache.put_cache_value_with_http_info(NAME, every_byte, ttl_ms=60_000, cache_content_type="image/png",
                                              fencing_token=grant.fencing_token)
assert stored.status_code == 201, stored
read = cache.get_cache_value_with_http_info(NAME)
assert read.data == every_byte and read.headers["content-type"] == "image/png", read
try:
    cache.put_cache_value(NAME, b"late", fencing_token=grant.fencing_token - 1)
    raise AssertionError("a write with an older token was accepted")
except ApiException as error:
    assert (error.data.code, error.status, error.data.outcome) == ("stale-fence", 409, "not_applied"), error
locks.release_lock(NAME, lock_token=grant.token)

for _ in range(2):
    counter = cache.increment_cache_counter(f"{NAME}:counter", CacheIncrement(by=1), _headers={"Idempotency-Key": NAME})
    assert counter.value == 1, counter

answer = series.post_series_samples(NAME, SeriesSamplesInput(samples=[
    SeriesSampleInput(timestamp=1_767_225_600_000, value=0.392),
    SeriesSampleInput(timestamp=1_767_226_500_000, value=2),
]))
assert (answer.accepted, answer.refused) == (2, []), answer
window = series.get_series_range(NAME, var_from="1767225600000", to="2026-01-02T00:00:00Z")
assert [(point.timestamp, point.value) for point in window.samples] == [
    (1_767_225_600_000, 0.392), (1_767_226_500_000, 2)], window

documents.put_json_document(NAME, {"name": "Ada", "limits": {"daily_kwh": 40.5}})
documents.patch_json_document(NAME, {"name": None, "limits": {"daily_kwh": 45}})
assert documents.get_json_document(NAME) == {"limits": {"daily_kwh": 45}}

decision = limits.check_limit(LimitCheckRequest(limiter="orders", key=NAME))
assert decision.allowed and decision.remaining == decision.limit - 1, decision
limiters = {limiter.name: limiter.strategy.actual_instance for limiter in limits.list_limiters().items}
assert isinstance(limiters["orders"], LimitSlidingWindow) and limiters["orders"].limit == decision.limit, limiters

space = HostAgentSpace(total=2**40, used=2**39, available=2**39, usage_percent=50)
beat = HostHeartbeat(hostname="web-1.example.org", agent_version="2.1.0", agent_status="running", uptime=86_400,
                     metrics=HostAgentMetrics(cpu=HostAgentCpu(cores=8, usage=37.5, load_avg=[0.52, 0.58, 0.61]),
                                              memory=space, disk=space))
assert hosts.post_heartbeat(HostHeartbeatRequest(heartbeat=beat, host_id=HOST, organization_slug="clients")).success
space = HostSpace(total=2**40, used=2**39, free=2**39, usage_percent=50)
network = HostNetwork(bytes_in=2**33, bytes_out=1, packets_in=2, packets_out=3)
cpu = HostCpu(cores=8, load_avg=[0.52, 0.58, 0.61], usage=12.5)
sample = HostSampleInput(cpu=cpu, memory=space, disk=space, network=network)
assert hosts.post_host_metrics(HOST, [sample]).accepted == 1
latest = hosts.get_latest_host_metrics(HOST)
assert (latest.metrics.cpu.usage, latest.metrics.network.bytes_in) == (12.5, 2**33), latest
