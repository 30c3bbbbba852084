# Development tasks. Go is enough for all of them; the race detector also needs a C
# compiler, and the tests run without it, and say so, where there is none. Everything
# else is fetched and built through the module cache.

GO       ?= go
# Compiling a line of C finds a missing compiler and missing headers alike.
RACE     ?= $(shell printf '\043include <stdlib.h>\nint main(void) { return 0; }\n' | \
	$$($(GO) env CC) -x c -o /dev/null - >/dev/null 2>&1 && test "$$($(GO) env CGO_ENABLED)" = 1 && echo -race)
FUZZTIME ?= 10s
DURATION ?= 30m
SEED     ?= 1

# The linter is built once and then kept in Go's build cache.
LINT := $(GO) tool -modfile=internal/tools/go.mod golangci-lint
# The linter lists packages with build data. Version stamping is of no use to it and
# fails in a checkout owned by another user, which is common in containers.
LINTFLAGS := GOFLAGS="$$($(GO) env GOFLAGS) -buildvcs=false"

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.DEFAULT_GOAL := help
.PHONY: clients tidy help demo test lint fmt bench fuzz faults torture build cross test-core test-memory test-persist test-cluster test-deploy test-legacy api golden

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the demonstration, in memory
	$(GO) run ./cmd/toka-node demo

test: lint ## lint, vet, then all tests, with the race detector where it works, then the faults
	$(GO) vet ./...
	@test -n "$(RACE)" || echo "make test: no C compiler (Debian: apt-get install gcc libc6-dev): testing WITHOUT the race detector"
	$(GO) test $(RACE) -shuffle=on -timeout 40m ./...
	cd internal/clients && $(GO) vet ./... && $(GO) test $(RACE) -shuffle=on ./...
	@$(MAKE) --no-print-directory faults

# Under the race detector each crash point takes some twenty times as long, so the
# tests above try a part of them and these all, without it.
FAULTS := PowerCut|Kill|StorageFailure|EveryChange|FullDisk|BitFlips|TruncatedLog|DamagedIndex|OlderCopies|ClockJumps|ErasedSubjects|BackupsUnderLoad|Model$$|ModelFinds
faults: ## power cuts, kills, full disks, damage, old copies: all that a change has to pass, with the counts
	@out=$$(TOKA_FAULTS=1 $(GO) test -count=1 -v -timeout 30m -run '$(FAULTS)' ./journal -rapid.checks=10000 2>&1); \
	status=$$?; echo "$$out" | grep -v '^ *=== \|^ *--- PASS'; exit $$status

tidy: ## tidy the requirements of the modules; those of the clients follow the others
	$(GO) mod tidy
	cd internal/clients && $(GO) mod tidy

SCHEMATHESIS := 4.32.5
clients: ## hold a node to schemathesis and to a browser, installing what is missing
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	test -x bin/clients/bin/schemathesis || { python3 -m venv bin/clients && bin/clients/bin/pip -q install schemathesis==$(SCHEMATHESIS); }
	TOKA_BROWSER=$$(command -v chromium) $(GO) test -count=1 -v -run '^TestBrowser$$' ./node/internal/server
	TOKA_SCHEMATHESIS=$(CURDIR)/bin/clients/bin/schemathesis $(GO) test -count=1 -v -run '^TestSchemathesis$$' ./node

lint: ## run golangci-lint (the first run builds it, for a minute or two)
	$(LINTFLAGS) $(LINT) run ./...

fmt: ## format all Go files
	$(LINTFLAGS) $(LINT) fmt ./...

bench: ## run the benchmarks, then measure appends to a journal
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./cmd/toka-node bench append --writers 1024 --size 200 --duration 10s

# Go fuzzes one target at a time, so list them first: names come before the "ok" line
# of their package. Before Go 1.27 the fuzzer itself can fail a run that found nothing,
# with a bare "context deadline exceeded" as its time ends. A real finding always names
# its input, so only that bare failure is let through.
fuzz: ## run every fuzz target for FUZZTIME each (default 10s)
	@list=$$($(GO) test -list '^Fuzz' ./...) || { echo "$$list"; exit 1; }; \
	echo "$$list" | awk '/^Fuzz/ { f[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, f[i]; n = 0 }' | \
	while read -r pkg target; do \
		echo "fuzz $$pkg $$target"; \
		out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg" </dev/null 2>&1) && \
			{ echo "$$out" | tail -n 3; continue; }; \
		echo "$$out"; \
		echo "$$out" | grep -q '^ *context deadline exceeded$$' || exit 1; \
		if echo "$$out" | grep -qi 'failing input\|seed corpus'; then exit 1; fi; \
		echo "fuzz: no failing input; the time ran out in the middle of a run"; \
	done

# What it prints names each seed; a round that fails is run again with that one.
torture: ## power cuts, failing disks and clocks for DURATION (default 30m) from SEED, with a report
	@TOKA_TORTURE=$(DURATION) TOKA_TORTURE_SEED=$(SEED) $(GO) test -run '^TestTorture$$' -v -timeout 0 ./journal > torture-$(SEED).log; \
	status=$$?; grep -v '^=== ' torture-$(SEED).log | tail -n 20; exit $$status

# Built as cross does, which has compiled it already where both are made.
test-deploy: ## run the static program as the container file does, over an empty root
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/toka-node ./cmd/toka-node
	TOKA_BINARY=$(CURDIR)/bin/toka-node $(GO) test -count=1 -v -run '^(TestContainer|TestUnit|TestNotify)$$' ./node

# The parts of the event system, as the guide lists them.
test-core: ## test the core: events
	$(GO) test ./events

test-memory: ## test the bus in memory, and the suite for buses
	$(GO) test ./events/bus/... ./examples/slicebus

test-persist: ## test the journal and the bus over it
	$(GO) test ./journal/...

test-cluster: ## test intents: the journal's, with clustering
	$(GO) test ./intent/...
	$(GO) test -run 'Intent|Embedding' ./journal ./journal/eventbus

test-legacy: ## test the legacy layer and the migration
	$(GO) test ./legacy

api: ## record the exported surface in docs/api.txt
	TOKA_UPDATE=1 $(GO) test -count=1 -run '^TestAPI$$' ./internal/compat

golden: ## record a journal of this stored format; never again once it is released
	TOKA_UPDATE=1 $(GO) test -count=1 -run '^TestGolden$$' ./internal/compat

build: ## build a static bin/toka-node
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/toka-node ./cmd/toka-node

# Nothing is kept: this only shows that no file forgot a system.
cross: ## compile everything for Linux, macOS and Windows on amd64 and arm64
	@for p in $(PLATFORMS); do \
		echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -buildvcs=false ./... || exit 1; \
	done
