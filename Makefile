# `make` alone prints the targets.
SHELL := bash
.DEFAULT_GOAL := help
GOLANGCI_LINT_VERSION := v2.15.0
TOOLS := $(CURDIR)/.tools/bin
LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
FUZZTIME ?= 3s

.PHONY: help run test race mutate fuzz lint bench generate build clean

help: ## print this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/penstock
	go build -o bin/penstock ./cmd/penstock

run: build ## generate a month of shop orders and run examples/orders over it
	go run ./examples/orders/generate -seed 1 -days 30 -lines-per-day 1500 -out examples/orders/data
	rm -rf examples/orders/out
	bin/penstock run --once examples/orders
	@echo; echo "reconciliation (examples/orders/out/reconciliation.jsonl):"; cat examples/orders/out/reconciliation.jsonl

test: ## run all tests; the summary at the end says what was skipped, and why
	cd bench && go vet ./... && go test ./...
	go run ./test/gotest -timeout 5m ./...

race: ## run the concurrent packages under the race detector
	go test -race ./internal/run/... ./internal/stage/... ./internal/store/... ./internal/control/... ./connector/... ./conform/... ./jsonview/...

mutate: ## plant deliberate bugs, one after the other, and see that tests catch each
	go run ./test/mutate

fuzz: ## run every fuzz target for FUZZTIME (3s; try FUZZTIME=5m)
	go run ./test/gofuzz -time $(FUZZTIME)

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

clean: ## remove what was built and written
	rm -rf bin examples/*/out examples/*/data bench/.work
