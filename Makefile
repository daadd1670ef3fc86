# The commands of the project. `make` alone lists them.

SHELL := /bin/sh
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CARGO_FLAGS := --locked
# The optional capabilities that the image has and a plain build leaves out. The checks and tests use the same ones, so that
# everything is compiled once.
FEATURES := --features object-store,parquet

.DEFAULT_GOAL := help
.PHONY: help run build release test test-modules test-clients check lock-check loss-check book-check ha-check attack bench instructions openapi demo demo-warming agent example image-check dashboards fmt clean-data

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the service on 127.0.0.1:4040 (PORT, REDIS_URL); without REDIS_URL with a private Redis
	@test -n "$$REDIS_URL$$REDIS_HOST" || scripts/setup_redis.sh
	cargo build $(CARGO_FLAGS) --release
	@LOG_FORMAT="$${LOG_FORMAT:-pretty}" exec "$(TARGET_DIR)/release/gridtokenx-redis"

build: ## Build the release binaries
	cargo build $(CARGO_FLAGS) --release

# The stripped binary refers to the file of debug information by name and checksum: debuggers and profilers find it in
# the folder of the binary.
release: ## Build the service for distribution, with its debug information in a separate file (target/dist)
	cargo build $(CARGO_FLAGS) --profile dist --bin gridtokenx-redis
	@cd "$(TARGET_DIR)/dist" && objcopy --only-keep-debug --compress-debug-sections gridtokenx-redis gridtokenx-redis.debug \
		&& objcopy --strip-all --remove-section=.comment --add-gnu-debuglink=gridtokenx-redis.debug gridtokenx-redis stripped \
		&& mv stripped gridtokenx-redis && ls -l gridtokenx-redis gridtokenx-redis.debug

test: ## Install what the tests need and run all of them
	@scripts/setup_tests.sh
	cargo nextest run $(CARGO_FLAGS) $(FEATURES) --profile ci

test-modules: ## Run the tests that need a Redis with modules (GTX_TEST_MODULE_REDIS_URL)
	@scripts/setup_tests.sh
	GTX_TEST_REQUIRE_MODULES=1 cargo nextest run $(CARGO_FLAGS) --profile ci --run-ignored all --test it \
		-E 'test(/^(json_backends|migrate_|timeseries_backends|timeseries_golden)/)'

test-clients: ## Generate clients from the API document, compile them, and call the service with each (docs/clients.md)
	@scripts/setup_tests.sh redis nextest clients
	cargo nextest run $(CARGO_FLAGS) --profile ci --run-ignored only --test it -E 'test(/^clients::/)'

# Everything in the dev profile and with the same flags, so that dependencies are compiled once.
check: ## Check format, lints, features, types of the web page, API docs, dependency rules, the rules in tests/tidy, shell scripts
	@scripts/setup_tests.sh nextest deny node
	cargo fmt --check
	scripts/check_page_types.sh
	cargo clippy $(CARGO_FLAGS) $(FEATURES) --all-targets -- -D warnings
	cargo clippy $(CARGO_FLAGS) --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) $(FEATURES) --no-deps
	cargo deny --log-level error check bans licenses sources
	@if timeout 60 cargo deny --log-level error fetch db; then cargo deny --log-level error check --disable-fetch advisories; \
		else echo "make check: the advisory database cannot be reached, so known vulnerabilities are NOT checked" >&2; fi
	cargo nextest run $(CARGO_FLAGS) $(FEATURES) --profile ci --test tidy --test openapi
	@for script in scripts/*.sh config/redis/*.sh; do sh -n "$$script" || exit 1; done; bash -n .ci/run
	@if command -v shellcheck >/dev/null 2>&1; then shellcheck scripts/*.sh config/redis/*.sh .ci/run; fi
	scripts/check_deployment.sh

lock-check: ## Check for many minutes that no lock ever has two holders (GTX_LOCK_CHECK_SEED)
	GTX_LOCK_CHECK=long cargo nextest run $(CARGO_FLAGS) --release --profile lock-check --test it -E 'test(/^lock_check::/)' \
		--no-capture

loss-check: ## Check for minutes that 200 clients and 8 killed consumers lose none of 20,000 messages and events silently
	cargo nextest run $(CARGO_FLAGS) --release --profile loss-check --run-ignored only --test it \
		-E 'test(/^(pubsub::loss::.*many_clients|streams::many::.*thousand)/)' --no-capture

book-check: ## Check for minutes that 16 clients and a killed Redis leave the order book that was acknowledged
	cargo nextest run $(CARGO_FLAGS) --release --profile book-check --run-ignored only --test it \
		-E 'test(/^orderbook::load::/)' --no-capture

ha-check: ## Let masters with replicas and the network fail for 25 minutes under load, with Sentinel and in a cluster, and compare what is left with what callers were told (GTX_HA_CHECK_SEED)
	GTX_HA_CHECK=long cargo nextest run $(CARGO_FLAGS) --release --profile ha-check --test it -E 'test(/^availability::failover::/)' \
		--no-capture

attack: ## Attack the service for ten minutes as one client, and report its memory and another client's latency (GTX_ATTACK_ONLY)
	GTX_ATTACK=long cargo nextest run $(CARGO_FLAGS) --release --profile attack --test it -E 'test(/^attack::/)' --no-capture

bench: ## Measure the service and comparable ones (docs/benchmarks.md)
	@scripts/setup_redis.sh
	scripts/bench.sh $(ARGS)

instructions: ## Count the user instructions of one request with callgrind (ARGS="get check")
	scripts/instructions.sh $(ARGS)

openapi: ## Write openapi/openapi.json from the source
	cargo run $(CARGO_FLAGS) --quiet -- openapi --file openapi/openapi.json

demo: ## Fill the running service with simulated data (ARGS=--live), or load readings (ARGS="--file readings.csv")
	cargo run $(CARGO_FLAGS) --release --quiet --bin gridtokenx-tools -- demo $(ARGS)

demo-warming: ## Warm 10,000 profiles of a private PostgreSQL, and show the hit rates before and after
	@scripts/setup_tests.sh redis postgres
	cargo build $(CARGO_FLAGS) --release --bin gridtokenx-redis
	python3 scripts/demo_warming.py --binary "$(TARGET_DIR)/release/gridtokenx-redis"

agent: ## Send the metrics of this machine to the running service (ARGS="--host web-1")
	cargo run $(CARGO_FLAGS) --release --quiet --bin gridtokenx-tools -- agent $(or $(ARGS),--host $(shell uname -n))

example: ## Show prices, own orders and a dashboard of the running service in a browser (examples/realtime)
	@scripts/setup_tests.sh node
	python3 examples/realtime/serve.py --library "$(TARGET_DIR)/test-node/node_modules/centrifuge/dist/centrifuge.js" $(ARGS)

# Not part of .ci/run: it compiles the service in the image.
image-check: ## Build the image with buildah, run it, and check it (as root; ARGS="--binary FILE" compiles nothing)
	scripts/image_check.sh $(ARGS)

dashboards: ## Write the dashboards in config/grafana from scripts/dashboards.py
	python3 scripts/dashboards.py

fmt: ## Format the source
	cargo fmt

clean-data: ## Delete the data of the private Redis (data/redis); stop the service first
	@if [ -e data/redis/lock ] && command -v flock >/dev/null 2>&1 && ! flock --nonblock data/redis/lock true; then \
		echo "the service is running on data/redis: stop it first" >&2; exit 1; fi
	rm -rf data/redis
