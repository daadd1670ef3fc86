// One round trip per capability with the client that openapi-generator generates for Go.
package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"reflect"

	"clients/gridtokenx"
)

const (
	name = "clients:openapi-generator-go"
	host = "openapi-generator-go"
)

// check ends the program if a call failed; a problem shows as its code.
func check(err error) {
	if err != nil {
		log.Panic(err, problem(err))
	}
}

func expect(holds bool, seen any) {
	if !holds {
		log.Panicf("%+v", seen)
	}
}

func problem(err error) (problem gridtokenx.Problem) {
	var failure *gridtokenx.GenericOpenAPIError
	if errors.As(err, &failure) {
		problem, _ = failure.Model().(gridtokenx.Problem)
	}
	return problem
}

// file returns an open file: the generator reads and writes bodies of bytes as files.
func file(content []byte) *os.File {
	file, err := os.CreateTemp("", "")
	check(err)
	check(os.Remove(file.Name()))
	_, err = file.Write(content)
	check(err)
	_, err = file.Seek(0, io.SeekStart)
	check(err)
	return file
}

// connect returns a client that sends these headers with every request.
func connect(headers map[string]string) *gridtokenx.APIClient {
	configuration := gridtokenx.NewConfiguration()
	configuration.Servers = gridtokenx.ServerConfigurations{{URL: os.Getenv("GRIDTOKENX_URL")}}
	configuration.DefaultHeader = headers
	configuration.AddDefaultHeader("X-API-Key", os.Getenv("GRIDTOKENX_KEY"))
	return gridtokenx.NewAPIClient(configuration)
}

func main() {
	log.SetFlags(log.Lshortfile)
	ctx := context.Background()
	client := connect(map[string]string{})
	guardedWrite(ctx, client)
	repeatedIncrement(ctx, connect(map[string]string{"Idempotency-Key": name}))
	series(ctx, client)
	documents(ctx, client)
	limits(ctx, client)
	hosts(ctx, client)
}

func guardedWrite(ctx context.Context, client *gridtokenx.APIClient) {
	lease := gridtokenx.NewLockAcquireRequest()
	lease.SetTtlMs(30_000)
	grant, _, err := client.LocksAPI.AcquireLock(ctx, name).LockAcquireRequest(*lease).Execute()
	check(err)
	expect(grant.FencingToken > 1<<31, grant)

	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	stored, err := client.CacheAPI.PutCacheValue(ctx, name).Body(file(everyByte)).TtlMs(60_000).
		CacheContentType("image/png").FencingToken(grant.FencingToken).Execute()
	check(err)
	expect(stored.StatusCode == 201, stored.Status)
	value, response, err := client.CacheAPI.GetCacheValue(ctx, name).Execute()
	check(err)
	read, err := io.ReadAll(value)
	check(err)
	check(os.Remove(value.Name()))
	expect(bytes.Equal(read, everyByte) && response.Header.Get("Content-Type") == "image/png", read)
	_, err = client.CacheAPI.PutCacheValue(ctx, name).Body(file([]byte("late"))).FencingToken(grant.FencingToken - 1).Execute()
	late := problem(err)
	expect(late.Code == "stale-fence" && late.Status == 409 && late.GetOutcome() == gridtokenx.OUTCOME_NOT_APPLIED, err)
	_, err = client.LocksAPI.ReleaseLock(ctx, name).LockToken(grant.Token).Execute()
	check(err)
}

func repeatedIncrement(ctx context.Context, client *gridtokenx.APIClient) {
	increment := gridtokenx.NewCacheIncrement()
	increment.SetBy(1)
	for i := 0; i < 2; i++ {
		counter, _, err := client.CacheAPI.IncrementCacheCounter(ctx, name+":counter").CacheIncrement(*increment).Execute()
		check(err)
		expect(counter.Value == 1, counter)
	}
}

func series(ctx context.Context, client *gridtokenx.APIClient) {
	first, second := gridtokenx.NewSeriesSampleInput(0.392), gridtokenx.NewSeriesSampleInput(2)
	first.SetTimestamp(1_767_225_600_000)
	second.SetTimestamp(1_767_226_500_000)
	samples := gridtokenx.NewSeriesSamplesInput([]gridtokenx.SeriesSampleInput{*first, *second})
	answer, _, err := client.TimeseriesAPI.PostSeriesSamples(ctx, name).SeriesSamplesInput(*samples).Execute()
	check(err)
	expect(answer.Accepted == 2 && len(answer.Refused) == 0, answer)
	window, _, err := client.TimeseriesAPI.GetSeriesRange(ctx, name).From("1767225600000").To("2026-01-02T00:00:00Z").Execute()
	check(err)
	expect(len(window.Samples) == 2 && window.Samples[0].Timestamp == *first.Timestamp &&
		window.Samples[0].GetValue() == 0.392 && window.Samples[1].GetValue() == 2, window)
}

func documents(ctx context.Context, client *gridtokenx.APIClient) {
	type object = map[string]any
	document := object{"name": "Ada", "limits": object{"daily_kwh": 40.5}}
	_, err := client.JsonAPI.PutJsonDocument(ctx, name).Body(document).Execute()
	check(err)
	patch := object{"name": nil, "limits": object{"daily_kwh": 45}}
	_, err = client.JsonAPI.PatchJsonDocument(ctx, name).Body(patch).Execute()
	check(err)
	read, _, err := client.JsonAPI.GetJsonDocument(ctx, name).Execute()
	check(err)
	expect(reflect.DeepEqual(read, object{"limits": object{"daily_kwh": 45.0}}), read)
}

func limits(ctx context.Context, client *gridtokenx.APIClient) {
	request := gridtokenx.NewLimitCheckRequest(name)
	request.SetLimiter("orders")
	decision, _, err := client.RatelimitAPI.CheckLimit(ctx).LimitCheckRequest(*request).Execute()
	check(err)
	expect(decision.Allowed && decision.Remaining == decision.Limit-1, decision)
	limiters, _, err := client.RatelimitAPI.ListLimiters(ctx).Execute()
	check(err)
	for _, limiter := range limiters.Items {
		if limiter.Name == "orders" {
			expect(limiter.Strategy.LimitSlidingWindow.Limit == decision.Limit, limiter)
			return
		}
	}
	expect(false, limiters)
}

func hosts(ctx context.Context, client *gridtokenx.APIClient) {
	used := gridtokenx.NewHostAgentSpace(1<<40, 50, 1<<39)
	used.SetAvailable(1 << 39)
	cpu := gridtokenx.NewHostAgentCpu(8, 37.5)
	cpu.LoadAvg = []float64{0.52, 0.58, 0.61}
	metrics := gridtokenx.NewHostAgentMetrics(*cpu, *used, *used)
	beat := gridtokenx.NewHostHeartbeat("running", "2.1.0", "web-1.example.org", *metrics, 86_400)
	request := gridtokenx.NewHostHeartbeatRequest(*beat, host, "clients")
	answer, _, err := client.HostsAPI.PostHeartbeat(ctx).HostHeartbeatRequest(*request).Execute()
	check(err)
	expect(answer.Success, answer)
	space := *gridtokenx.NewHostSpace(1<<39, 1<<40, 50, 1<<39)
	network := *gridtokenx.NewHostNetwork(1<<33, 1, 2, 3)
	sample := gridtokenx.NewHostSampleInput(*gridtokenx.NewHostCpu(8, cpu.LoadAvg, 12.5), space, space, network)
	accepted, _, err := client.HostsAPI.PostHostMetrics(ctx, host).HostSampleInput([]gridtokenx.HostSampleInput{*sample}).Execute()
	check(err)
	expect(accepted.Accepted == 1, accepted)
	latest, _, err := client.HostsAPI.GetLatestHostMetrics(ctx, host).Execute()
	check(err)
	expect(latest.Metrics.Cpu.Usage == 12.5 && latest.Metrics.Network.BytesIn == 1<<33, latest)
}
