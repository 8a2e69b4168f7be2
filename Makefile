# sandboxrun: everything that is done with this tree is a target here; CI runs the same ones. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

VERSION := 0.1.0-dev
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null)
PREFIX  := /usr/local
DESTDIR :=

# Pinned tools. A new GO_VERSION needs its sums in .ci/toolchain.
GO_VERSION       := 1.26.8
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := .cache/bin/golangci-lint-$(GOLANGCI_VERSION)
# The runc to compare with has the age of the libcontainer that we use: what is left are differences of ours.
RUNC_VERSION     := $(shell sed -n 's|.*github.com/opencontainers/runc \(v[^ ]*\).*|\1|p' go.mod)
RUNC             := .cache/bin/runc-$(RUNC_VERSION)
# Debian's containerd is old; the newest is pinned in the tools' own go.mod.
CONTAINERD_VERSION := $(shell sed -n 's|^\tgithub.com/containerd/containerd/v2 \(v[^ ]*\).*|\1|p' test/engines/tools/go.mod)
CONTAINERD         := .cache/bin/containerd-$(CONTAINERD_VERSION)

# libcontainer's C code and libseccomp need cgo. The binary is static all the same: it is bound into sandboxes and copied
# to other machines, where it must not depend on the C library that is there.
export CGO_ENABLED := 1
TAGS        := seccomp urfave_cli_no_docs netgo osusergo
BUILD_FLAGS := -trimpath -buildvcs=false -tags '$(TAGS)'
STATIC      := -extldflags "-static"
LDFLAGS     := -s -w $(STATIC) -X main.version=$(VERSION)$(addprefix +,$(COMMIT))

# The go command: the host's own if it is new enough, else the pinned one below .cache/go. It is looked for when the first
# recipe needs it, and once.
GO = $(eval GO := $(or $(shell .ci/toolchain $(GO_VERSION) $(CURDIR)/.cache/go),$(error no go command; see above)))$(GO)
# Tests and tools that call `go` themselves find the same one. What is built with -trimpath shares nothing with what is not, not
# even the standard library: everything is, and is compiled once.
WITH_GO = PATH="$(patsubst %/,%,$(dir $(GO))):$$PATH" GOFLAGS="$(strip $(shell $(GO) env GOFLAGS) -trimpath)"

# Sandboxes are started as root, tests too, by sudo if need be; without sudo the tests that need root say so and are
# skipped. Nothing is built as root: the caches stay the user's.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),$(shell command -v sudo))
# Tests of the program use what the build made, natively and, at another path, in the VM.
export SANDBOXRUN_BIN     := $(CURDIR)/bin/sandboxrun
export SANDBOXRUN_BUNDLES := $(CURDIR)/bin/bundles
export SHOP_API           := $(CURDIR)/bin/shop-api
# go test's -exec. sudo drops the environment; tests that build programs need the user's go, its settings and its modules.
TEST_EXEC = $(if $(AS_ROOT),-exec "$(AS_ROOT) env 'PATH=$$PATH' 'GOFLAGS=$$(go env GOFLAGS)' 'GOPROXY=$$(go env GOPROXY)' 'GOMODCACHE=$$(go env GOMODCACHE)' \
	'SANDBOXRUN_BIN=$$SANDBOXRUN_BIN' 'SANDBOXRUN_BUNDLES=$$SANDBOXRUN_BUNDLES' 'SANDBOXRUN_RUNC=$$SANDBOXRUN_RUNC' \
	'SHOP_API=$$SHOP_API'")

# The native tests' packages, and those that run once more in the VM with real cgroup v2.
# Not under the race detector: they start a thousand processes and race on purpose.
INTEGRATION  := ./test/integration/... ./test/security/... ./test/equivalence ./test/shop ./test/sidebyside ./test/chaos
VM_PACKAGES  := ./cgroup ./runtime ./nsinit ./bundles/build ./rootfs/overlay ./cmd/sandboxrun ./test/integration ./test/shop ./test/chaos
# Services that run in that VM too.
VM_SERVICES  := redis nginx postgresql
TEST_TIMEOUT := 10m
VM_TIMEOUT   := 30m
FUZZTIME     := 10s
# A race detector costs five times the time; RACE= leaves it out.
RACE         := -race
# lint's govet has looked at everything; go test would load and check it once more, and then for the race detector again.
NO_VET       := -vet=off
# RUN=REGEXP runs only the tests whose names match, natively.
RUN          :=
RUN_FLAG     := $(if $(RUN),-run '$(RUN)')

# Engines, systemd and OCI's suite get a VM of their own; the suites that use cgroups run in one too where this host's cgroups
# aren't v2 with its controllers. VM=no leaves all of them out, as where the architecture isn't the VM's.
CGROUP_V2 := $(wildcard /sys/fs/cgroup/cgroup.controllers)
VM        := $(if $(RUN)$(filter-out x86_64,$(shell uname -m)),no,yes)
PHASES    := unit integration $(if $(filter yes,$(VM)),$(if $(CGROUP_V2),,vm) systemd engines conformance)

.PHONY: build
build: need-build ## build bin/sandboxrun, installing compiler, headers and Go where they are missing
	$(WITH_GO) go build $(BUILD_FLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: samples
samples: need-build ## build the sample bundles into bin/bundles
	$(WITH_GO) go run -buildvcs=false ./bundles/samples/build -o bin/bundles

.PHONY: samples-services
samples-services: ## extract redis, postgresql and nginx from this Debian's packages into .cache/services
	@bundles/samples/services/extract.sh .cache/services redis postgresql nginx

.PHONY: run
run: build samples ## build everything and run the sample bundle bin/bundles/hello
	$(AS_ROOT) bin/sandboxrun run bin/bundles/hello

.PHONY: install
install: $(if $(and $(wildcard bin/sandboxrun),$(wildcard bin/sandboxrun-images),$(wildcard bin/sandboxrun-env)),,build) ## install bin/sandboxrun and its companions below PREFIX (/usr/local)
	install -D -m 0755 bin/sandboxrun '$(DESTDIR)$(PREFIX)/bin/sandboxrun'
	install -D -m 0755 bin/sandboxrun-images '$(DESTDIR)$(PREFIX)/libexec/sandboxrun/sandboxrun-images'
	install -D -m 0755 bin/sandboxrun-env '$(DESTDIR)$(PREFIX)/libexec/sandboxrun/sandboxrun-env'

.PHONY: test
test: bin/report $(if $(filter yes,$(VM)),need-vm) ## run every test there is and count them; VM=yes|no RUN=REGEXP RACE=
	@rm -rf bin/test-results
	@# One after the other: two emulated machines at once take as long, and both miss deadlines.
	@for phase in $(PHASES); do $(MAKE) --no-print-directory $$phase || true; done
	@bin/report total $(PHASES)

.PHONY: unit
unit: build samples bin/report ## run the tests beside the code, natively, as root, with the race detector
	@export $(WITH_GO); \
	bin/report run unit -- go test -json $(NO_VET) $(RACE) -count=1 -timeout $(TEST_TIMEOUT) -tags '$(TAGS)' $(RUN_FLAG) $(TEST_EXEC) \
		$$(go list ./... | grep -vE '/test/(integration|security|equivalence|shop|sidebyside|chaos)$$')

.PHONY: integration
integration: build samples samples-services bin/shop-api bin/report need-equivalence $(RUNC) ## run the testscript suites, the break-out tests and the comparison with runc, natively, as root
	@export $(WITH_GO) SANDBOXRUN_RUNC=$(CURDIR)/$(RUNC); \
	bin/report run integration -- go test -json $(NO_VET) -p 1 -count=1 -timeout $(TEST_TIMEOUT) -tags '$(TAGS)' $(RUN_FLAG) $(TEST_EXEC) $(INTEGRATION)

.PHONY: vm
vm: build samples samples-services bin/shop-api bin/report bin/vm need-vm ## run the tests that use cgroups in a VM with real cgroup v2
	@rm -rf bin/vm-tests bin/vm-host && mkdir -p bin/vm-tests bin/vm-host bin/vm-out && cp -a bin/sandboxrun bin/sandboxrun-images bin/sandboxrun-env bin/bundles bin/shop-api bin/vm-host/
	@bundles/samples/services/slim.sh .cache/services bin/vm-host/services $(VM_SERVICES)
	@$(WITH_GO) go test -c -tags '$(TAGS)' -trimpath -ldflags '$(STATIC)' -o bin/vm-tests/ $(VM_PACKAGES)
	@export $(WITH_GO); \
	bin/report run vm -- $(if $(AS_ROOT),$(AS_ROOT) env "PATH=$$PATH") bin/vm test --json --timeout $(VM_TIMEOUT) --each $(VM_TIMEOUT) --dir bin/vm-host --out bin/vm-out \
		--env SANDBOXRUN_BIN=/work/host/sandboxrun --env SANDBOXRUN_BUNDLES=/work/host/bundles --env SANDBOXRUN_SERVICES=/work/host/services \
		--env SHOP_SERVICES=/work/host/services --env SHOP_API=/work/host/shop-api bin/vm-tests/*.test

.PHONY: systemd
systemd: build samples bin/report bin/vm need-vm $(RUNC) ## run the tests of --systemd-cgroup and of ordinary users in a VM with systemd
	@rm -rf bin/vm-systemd && install -d -m 755 bin/vm-systemd bin/vm-tests-systemd && cp -a bin/sandboxrun bin/bundles bin/vm-systemd/ && cp $(RUNC) bin/vm-systemd/runc
	@$(WITH_GO) go test -c -tags '$(TAGS)' -trimpath -ldflags '$(STATIC)' -o bin/vm-tests-systemd/ ./test/systemd
	@export $(WITH_GO); \
	bin/report run systemd -- $(if $(AS_ROOT),$(AS_ROOT) env "PATH=$$PATH") bin/vm test --image systemd --json --timeout $(VM_TIMEOUT) --each $(VM_TIMEOUT) --dir bin/vm-systemd \
		--env SANDBOXRUN_BIN=/work/host/sandboxrun --env SANDBOXRUN_BUNDLES=/work/host/bundles --env SANDBOXRUN_RUNC=/work/host/runc bin/vm-tests-systemd/systemd.test

.PHONY: engines
engines: build samples bin/report bin/vm need-vm $(CONTAINERD)/update ## use sandboxrun by containerd, podman and docker in a VM; PEERS=yes compares images with podman too
	@rm -rf bin/vm-engines && install -d -m 755 bin/vm-engines bin/vm-tests-engines && cp -a bin/sandboxrun bin/sandboxrun-images bin/bundles bin/vm-engines/ && cp -a $(CONTAINERD) bin/vm-engines/engines
	@$(WITH_GO) go test -c -tags '$(TAGS)' -trimpath -ldflags '$(STATIC)' -o bin/vm-tests-engines/ ./test/engines
	@export $(WITH_GO); \
	bin/report run engines -- $(if $(AS_ROOT),$(AS_ROOT) env "PATH=$$PATH") bin/vm test --image engines --json --timeout $(VM_TIMEOUT) --each $(VM_TIMEOUT) --dir bin/vm-engines \
		--env SANDBOXRUN_BIN=/work/host/sandboxrun --env SANDBOXRUN_BUNDLES=/work/host/bundles --env SANDBOXRUN_ENGINES=/work/host/engines \
		--env SANDBOXRUN_PEERS=$(PEERS) bin/vm-tests-engines/engines.test

# PEERS=yes tries the image's runc and crun too.
PEERS :=
.PHONY: conformance
conformance: build bin/report bin/vm need-vm ## run OCI's validation suite in the VM; PEERS=yes
	@rm -rf bin/vm-validation && mkdir -p bin/vm-validation/suite && cp bin/sandboxrun bin/vm-validation/
	@# Each container unpacks the archive, for which an emulated machine has no time to spare.
	@export $(WITH_GO); cd test/conformance/tools; \
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(CURDIR)/bin/vm-validation/suite/ tool; \
	gzip -dc "$$(go list -m -f '{{.Dir}}' github.com/opencontainers/runtime-tools)/rootfs-amd64.tar.gz" >$(CURDIR)/bin/vm-validation/suite/rootfs-amd64.tar.gz
	@$(WITH_GO) go test -c -trimpath -ldflags '$(STATIC)' -o bin/vm-validation/conformance.test ./test/conformance
	@export $(WITH_GO); \
	bin/report run conformance -- $(if $(AS_ROOT),$(AS_ROOT) env "PATH=$$PATH") bin/vm test --json --timeout 45m --each 40m --dir bin/vm-validation \
		--env SANDBOXRUN_BIN=/work/host/sandboxrun --env SANDBOXRUN_VALIDATION=/work/host/suite --env SANDBOXRUN_PEERS=$(PEERS) \
		bin/vm-validation/conformance.test -- -test.parallel 4

.PHONY: vm-shell
vm-shell: build bin/vm need-vm ## open a root shell in the VM, with this tree at /work/host
	$(AS_ROOT) bin/vm shell --dir .

.PHONY: fuzz
fuzz: need-build ## run every fuzz target for FUZZTIME (10s) each
	@export $(WITH_GO); \
	for package in $$(go list ./...); do \
		for target in $$(go test -tags '$(TAGS)' -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -tags '$(TAGS)' -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: bench
bench: need-build ## run the Go benchmarks beside the code
	@export $(WITH_GO); go test -tags '$(TAGS)' -run '^$$' -bench . -benchmem $(TEST_EXEC) ./...

.PHONY: bench-run
bench-run: build need-bench ## compare `sandboxrun run` with runc, crun, bubblewrap and unshare
	@$(WITH_GO) go build -buildvcs=false -tags '$(TAGS)' -o bin/bench ./test/bench
	$(AS_ROOT) bin/bench run

.PHONY: bench-bundle
bench-bundle: build samples-services need-bench ## compare `sandboxrun bundle build` with skopeo and umoci
	@$(WITH_GO) go build -buildvcs=false -o bin/bench-bundle ./test/bench/bundle
	$(AS_ROOT) bin/bench-bundle bin/sandboxrun

.PHONY: bench-env
bench-env: build samples need-bench-env ## compare environments with podman-compose and unshare, and many side by side
	@$(WITH_GO) go build -buildvcs=false -o bin/bench-env ./test/bench/env
	$(AS_ROOT) bin/bench-env bin/sandboxrun bin/bundles/workload/rootfs/bin/workload

.PHONY: lint
lint: need-build need-lint $(GOLANGCI) ## check form, imports, likely mistakes, scripts and go.mod
	$(WITH_GO) $(GOLANGCI) run ./...
	$(WITH_GO) go mod tidy -diff
	shellcheck --external-sources $$(git ls-files '*.sh' .ci)

.PHONY: ci
ci: ## do what CI does: lint, build, run the sample, test
	.ci/run

.PHONY: fmt
fmt: need-build $(GOLANGCI) ## format the Go code
	$(WITH_GO) $(GOLANGCI) fmt ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

.PHONY: clean-cache
clean-cache: clean ## remove what was downloaded too: Go, tools, the VM's image
	$(AS_ROOT) rm -rf .cache

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do printf '%-12s %s\n' "$$target" "$$text"; done

# What a target needs from the host. Met needs cost milliseconds.
.PHONY: need-build need-lint need-vm need-bench need-bench-env need-equivalence
need-build need-lint need-vm need-bench need-bench-env need-equivalence: need-%:
	@.ci/host-packages $*

# Always asked for: go itself knows whether there is something to do.
.PHONY: bin/report bin/vm
bin/report bin/vm: bin/%: need-build
	@$(WITH_GO) go build -buildvcs=false -tags '$(TAGS)' -o $@ ./test/$*

.PHONY: bin/shop-api
bin/shop-api: need-build
	@cd test/shop/api && CGO_ENABLED=0 $(WITH_GO) go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(CURDIR)/$@ .

$(RUNC): | need-build
	GOBIN=$(CURDIR)/.cache/bin $(WITH_GO) go install -trimpath -tags 'seccomp netgo osusergo' -ldflags '$(STATIC)' github.com/opencontainers/runc@$(RUNC_VERSION)
	mv .cache/bin/runc $@

$(CONTAINERD)/update: test/engines/tools/go.mod test/engines/tools/update/main.go | need-build
	cd test/engines/tools && CGO_ENABLED=0 $(WITH_GO) go build -trimpath -buildvcs=false -tags 'no_btrfs no_cri no_devmapper no_zfs urfave_cli_no_docs netgo osusergo' \
		-ldflags '-s -w -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD_VERSION)' -o $(CURDIR)/$(CONTAINERD).new/ tool ./update
	rm -rf $(CONTAINERD) && mv $(CONTAINERD).new $(CONTAINERD)

$(GOLANGCI): | need-build
	CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin $(WITH_GO) go install -trimpath github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .cache/bin/golangci-lint $@
