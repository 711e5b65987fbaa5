# `make` alone prints the targets.
SHELL := bash
.DEFAULT_GOAL := help
GOLANGCI_LINT_VERSION := v2.15.0
TOOLS := $(CURDIR)/.tools/bin
LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
FUZZTIME ?= 3s
FUZZPARTS ?= 1
FUZZTURN ?= 0

.PHONY: help run replicas test services install-services race mutate fuzz lint bench generate build wasm clean

help: ## print this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/penstock
	go build -o bin/penstock ./cmd/penstock

run: build ## generate a month of shop orders and run examples/orders over it
	go run ./examples/orders/generate -seed 1 -days 30 -lines-per-day 1500 -out examples/orders/data
	rm -rf examples/orders/out
	bin/penstock run --once examples/orders
	@echo; echo "reconciliation (examples/orders/out/reconciliation.jsonl):"; cat examples/orders/out/reconciliation.jsonl

EXAMPLE ?= orders
LISTEN ?= 127.0.0.1:8080
replicas: build ## run an example as three replicas on PostgreSQL, which it installs where it is missing (EXAMPLE=orders or accounts; LISTEN=127.0.0.1:8080); Ctrl-C stops them
	test/service/install.sh postgres
	@[ $(EXAMPLE) != orders ] || [ -d examples/orders/data ] || go run ./examples/orders/generate -seed 1 -days 30 -lines-per-day 1500 -out examples/orders/data
	go build -o bin/replicas ./test/replicas
	@exec bin/replicas -program bin/penstock -listen $(LISTEN) $(EXAMPLE)

test: install-services ## run all tests; the summary at the end says what was skipped, and why
	cd bench && go vet ./... && go test ./...
	go run ./test/gotest $(AGAIN) -timeout 10m ./...

services: install-services ## start the services that tests use on free ports, and print Connections to them (SERVICES="redis nats": only these); Ctrl-C stops them
	@go run ./test/services $(SERVICES)

install-services: ## install the services that tests start: databases and brokers (as root, by apt-get), Kafka and Pulsar (from Maven Central), NATS (from the Go module proxy)
	test/service/install.sh

race: install-services ## run the concurrent packages under the race detector
	go run ./test/gotest $(AGAIN) -race ./internal/run/... ./internal/httpd/... ./internal/stage/... ./internal/store/... ./internal/entity/... ./internal/jobs/... ./worker/... ./internal/control/... ./connector/... ./conform/... ./jsonview/...

mutate: install-services ## plant deliberate bugs, one after the other, and see that tests catch each
	go run ./test/mutate $(AGAIN)

fuzz: ## run every fuzz target for FUZZTIME (3s; try FUZZTIME=5m); FUZZPARTS=3 FUZZTURN=7: a third of them
	go run ./test/gofuzz -time $(FUZZTIME) -parts $(FUZZPARTS) -turn $(FUZZTURN)

lint: $(LINT) ## run golangci-lint with .golangci.yml
	$(LINT) run ./...
	cd bench && $(LINT) run --config ../.golangci.yml ./...

$(LINT):
	mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(TOOLS)/golangci-lint $(LINT)

bench: build ## measure against bench/README.md (PEER=<binary> runs the peer beside ours)
	cd bench && go run ./cmd/bench $(if $(PEER),-peer $(PEER))

generate: ## regenerate the JSON Schema, the reference pages and the examples' graph
	go generate ./...

wasm: ## rebuild the modules of examples/script (needs rustc with the target wasm32-unknown-unknown)
	@rustc --print target-libdir --target wasm32-unknown-unknown >/dev/null 2>&1 && [ -d "$$(rustc --print target-libdir --target wasm32-unknown-unknown)" ] || \
		{ echo "wasm: install it with: rustup target add wasm32-unknown-unknown"; exit 1; }
	rustc --edition 2021 --target wasm32-unknown-unknown --crate-type cdylib -C opt-level=s -C panic=abort -C lto -C strip=symbols \
		-C link-arg=-zstack-size=65536 --remap-path-prefix=$(CURDIR)= -o examples/script/score.wasm examples/script/lib.rs
	chmod 644 examples/script/score.wasm

clean: ## remove what was built and written
	rm -rf bin examples/*/out examples/*/data bench/.work
