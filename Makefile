# "make" or "make help" lists the targets.

GO            ?= go
BIN           := bin/bittern
CACHE         := .cache
ARGS          ?=
FUZZTIME      ?= 10s
BENCHTIME     ?= 20s
SOAK_TIME     ?= 1h
BENCH_VM      ?= 6.1-plain
BENCH_ARGS    ?=
TORTURE_SWAPS  ?= 1000000
TORTURE_EVENTS ?= 50000000
TORTURE_KILLS  ?= 1000
TESTFLAGS     ?=
RUN           ?=
MODEL         ?=
LINTER        := $(GO) tool -modfile=scripts/tools/go.mod golangci-lint

# What needs root runs under sudo if make does not run as root.
SUDO          := $(if $(filter 0,$(shell id -u)),,sudo)
TEST_EXEC     := $(if $(SUDO),-exec "sudo -E")

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## build the agent and run it with the shipped rules; ARGS="--output json" and so on
	scripts/setup.sh run
	$(MAKE) --no-print-directory build
	$(SUDO) $(BIN) run $(ARGS)

.PHONY: build
build: ## build bin/bittern
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/agent

.PHONY: test
test: ## set up, and run every test, those that need root and BPF included
	scripts/setup.sh test
	$(GO) vet ./...
	$(GO) test $(TEST_EXEC) $(TESTFLAGS) -skip '^TestKernels$$' ./...
	$(MAKE) --no-print-directory test-vm

.PHONY: test-vm
test-vm: ## run the kernel tests on other kernels, in QEMU; VM=6.1-plain for one of scripts/vm/matrix, or an expression; RUN=TestX for some tests
	scripts/setup.sh test
	BITTERN_VM_RUN='$(RUN)' $(GO) test -v -timeout 3h $(TESTFLAGS) -run '$(if $(VM),^TestKernels$$/^$(VM)$$)' ./internal/vm

.PHONY: test-kernel
test-kernel: ## run the kernel tests on the kernel of this machine, as test-vm does in its guests
	scripts/vm/build.sh bin/kernel
	$(SUDO) bin/kernel/guest -run='$(RUN)' bin/kernel/tests

.PHONY: test-unit
test-unit: ## run the tests that need no privileges and no set-up
	BITTERN_REQUIRE= $(GO) test -short ./...

.PHONY: race
race: ## run the tests that need no privileges under the race detector
	BITTERN_REQUIRE= $(GO) test -race -short ./...

.PHONY: cover
cover: ## run every test and print the coverage by package
	@mkdir -p $(CACHE)
	$(GO) test $(TEST_EXEC) -coverpkg=./... -coverprofile=$(CACHE)/cover.out $$($(GO) list ./... | grep -v internal/vm)
	@$(GO) tool cover -func=$(CACHE)/cover.out | tail -n 1

.PHONY: model
model: ## check the models of the swap and the take-over exhaustively, and that they find known bugs; MODEL='crash late-pin' for some searches
	scripts/setup.sh test
	scripts/model/run.sh $(MODEL)

.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: torture
torture: ## change rules TORTURE_SWAPS times while TORTURE_EVENTS events are judged, kill agents TORTURE_KILLS times, and print what was wrong: minutes
	scripts/setup.sh test
	$(GO) test $(TEST_EXEC) -v -count=1 -timeout 120m -run '^TestTorture$$' ./internal/loader \
		-torture.swaps=$(TORTURE_SWAPS) -torture.events=$(TORTURE_EVENTS)
	$(GO) test $(TEST_EXEC) -v -count=1 -timeout 120m -run '^TestKilled$$' ./cmd/agent -kills=$(TORTURE_KILLS)

.PHONY: bench
bench: ## run the benchmarks: parts, then the agent as a whole on 4,096 rules
	scripts/setup.sh test
	$(GO) test $(TEST_EXEC) -run '^$$' -bench . $$($(GO) list ./... | grep -v internal/bench)
	$(GO) test $(TEST_EXEC) -run '^$$' -bench . -benchtime $(BENCHTIME) ./internal/bench

.PHONY: soak
soak: ## keep an agent on 4,096 rules busy for SOAK_TIME (1h), and print its memory as time goes by
	scripts/setup.sh test
	$(GO) test -v -count=1 -timeout 0 -run '^$$' -bench Soak -benchtime 1x ./internal/bench -soak.time=$(SOAK_TIME)

.PHONY: bench-vm
bench-vm: ## measure the agent in a guest, against no agent; BENCH_VM=6.12-plain for another kernel, BENCH_ARGS=-rounds=3
	scripts/setup.sh test
	$(GO) run ./internal/bench/boot $(BENCH_VM) $(BENCH_ARGS)

.PHONY: lint
lint: ## check style and dependencies: Go, C, shell
	$(LINTER) run ./...
	scripts/clang-format.sh --check
	shellcheck scripts/*.sh scripts/model/*.sh scripts/postgres/*.sh scripts/vm/*.sh .ci/run

.PHONY: format
format: ## format Go and C in place
	$(LINTER) fmt ./...
	scripts/clang-format.sh

.PHONY: generate
generate: ## regenerate what is committed: BPF objects, ATT&CK data; needs clang-19
	$(GO) generate ./...

.PHONY: drift
drift: ## check that what is generated, and go.mod, are up to date
	scripts/drift.sh

.PHONY: vuln
vuln: ## check the dependencies for known vulnerabilities; needs the network, not part of CI
	$(GO) tool -modfile=scripts/tools/go.mod govulncheck ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin $(CACHE)
