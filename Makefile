# Two commands: `make run` starts Turnpike on this machine, `make test` proves it. Both install what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ARGS ?= run --dev
BUILD_PACKAGES := gcc libc6-dev
BENCH_PACKAGES := coturn strace
TEST_PACKAGES := libnss3-tools openssl e2fsprogs chromium firefox-esr coturn nftables iproute2 tcpdump ethtool fail2ban procps prometheus redis-server redis-sentinel nginx strace systemd python3 python3-venv debootstrap lintian dpkg-dev binutils
WEB_SOURCES := $(shell find signaling/client/src signaling/web/src signaling/web/public signaling/web/index.html -type f 2>/dev/null)

# Prints a heading, runs a step and tells how long it took.
define step
	@printf '\n== %s\n' "$(1)"; start=$$SECONDS; $(2); printf '== %s: %s s\n' "$(1)" $$((SECONDS - start))
endef

# Runs whole-product tests against the binary of the dev profile.
NODE_TEST = TURNPIKE=$${CARGO_TARGET_DIR:-target}/debug/turnpike node --test --test-concurrency=1 --test-reporter=spec

.PHONY: help run build web test soak bench bench-signaling deb tarball lint fuzz clean setup-build setup-test setup-bench setup-deb
help:
	@echo 'make run    start on this machine and print the page and an iceServers block (ARGS="run" serves others)'
	@echo 'make test   everything that must be true before a change lands; needs root, for network namespaces'
	@echo 'make soak   the full figures of floods, stalls, long loads, kills and calls of six minutes, over half an hour'
	@echo 'make bench  ours, coturn and a bare forwarder in turn, and the core alone (ROUNDS=6, CELL_SECONDS=2, BENCH_ARGS)'
	@echo 'make bench-signaling  20,000 sockets, 500 matches and 10,000 signals a second, a restart; ours and Node in turn'
	@echo 'make build  the release binary, target/release/turnpike'
	@echo 'make deb    a Debian package in target/debian (ARCH=arm64 for that); make tarball: the same tree'
	@echo 'make web    the page alone'
	@echo 'make fuzz   explore each fuzz target for SECONDS=60 (needs a nightly toolchain)'
	@echo 'run uses the dev profile: its first build takes a third of the time of a release build'

# Installs the Debian packages of $(1) that are missing; no service is started by it.
define packages
	missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(1) 2>/dev/null | awk '$$1 == "installed" {print $$2}' \
	  | grep -vxFf - <(printf '%s\n' $(1)) || true); \
	if [ -n "$$missing" ]; then \
	  printf '#!/bin/sh\nexit 101\n' > .make/policy-rc.d; chmod +x .make/policy-rc.d; \
	  [ -e /usr/sbin/policy-rc.d ] || { cp .make/policy-rc.d /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }; \
	  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing > .make/apt.log; \
	fi
endef

.make:
	@mkdir -p .make

# The machine that the package is tried on; a copy is laid over it for each test, and it stays as it is.
.make/debian-root/.made: | .make
	@rm -rf .make/debian-root
	@debootstrap --variant=minbase --include=systemd,ca-certificates,curl bookworm .make/debian-root > .make/debootstrap.log 2>&1 \
	  || { tail -n 20 .make/debootstrap.log; exit 1; }
	@touch $@

.make/npm: package-lock.json | .make
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.make/python: tests/clients/requirements.txt | .make
	@python3 -m venv --clear $@
	@$@/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

signaling/web/dist/index.html: .make/npm $(WEB_SOURCES)
	@npm run --silent build > .make/web.log 2>&1 || { cat .make/web.log; exit 1; }
	@touch $@

setup-build: | .make
	@$(call packages,$(BUILD_PACKAGES))

setup-test: setup-build
	@[ "$$(id -u)" = 0 ] || { echo 'make test needs root: it makes network namespaces. Run: sudo make test'; exit 1; }
	@$(call packages,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory .make/debian-root/.made
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --version 0.20.2 --locked --quiet

setup-bench: setup-build
	@[ "$$(id -u)" = 0 ] || { echo 'make bench needs root: for large socket buffers and strace. Run: sudo make bench'; exit 1; }
	@$(call packages,$(BENCH_PACKAGES))

web: signaling/web/dist/index.html

run: setup-build web
	@cargo run --locked --quiet --bin turnpike -- $(ARGS)

build: setup-build web
	@cargo build --locked --release --bin turnpike

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ARCH ?= $(shell dpkg --print-architecture)
CROSS := $(if $(filter-out $(shell dpkg --print-architecture),$(ARCH)),yes)
TRIPLE_arm64 := aarch64-linux-gnu
TRIPLE_amd64 := x86_64-linux-gnu
TARGET := $(patsubst %-linux-gnu,%-unknown-linux-gnu,$(TRIPLE_$(ARCH)))
PACKED = $${CARGO_TARGET_DIR:-target}$(if $(CROSS),/$(TARGET))/release/turnpike
# For another machine: its compiler, linker and strip, and this machine's own binary to make man pages with.
CROSS_ENV = CC_$(subst -,_,$(TARGET))=$(TRIPLE_$(ARCH))-gcc CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_LINKER=$(TRIPLE_$(ARCH))-gcc
PACK_ENV = $(if $(CROSS),ARCH=$(ARCH) STRIP=$(TRIPLE_$(ARCH))-strip GENERATOR=$${CARGO_TARGET_DIR:-target}/release/turnpike)

setup-deb: setup-build
	@$(call packages,dpkg-dev binutils $(if $(CROSS),gcc-$(TRIPLE_$(ARCH)) libc6-dev-$(ARCH)-cross))
	@[ -z "$(CROSS)" ] || rustup target add $(TARGET)

$(if $(CROSS),build-cross,build-here): setup-deb build
	@[ -z "$(CROSS)" ] || $(CROSS_ENV) cargo build --locked --release --bin turnpike --target $(TARGET)

deb: $(if $(CROSS),build-cross,build-here)
	@$(PACK_ENV) packaging/deb $(PACKED) $(VERSION)-1 target/debian

tarball: $(if $(CROSS),build-cross,build-here)
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; mkdir -p target/debian; \
	  $(PACK_ENV) packaging/tree $(PACKED) "$$work"; \
	  tar --sort=name --owner=0 --group=0 --numeric-owner -C "$$work" -czf target/debian/turnpike-$(VERSION)-$(ARCH).tar.gz .; \
	  echo target/debian/turnpike-$(VERSION)-$(ARCH).tar.gz

lint: web
	$(call step,rustfmt,cargo fmt --all --check)
	$(call step,web lint,npm run --silent lint)
	$(call step,web types,npm run --silent typecheck)
	$(call step,cargo-deny,cargo deny --log-level error check bans licenses sources)
	$(call step,clippy,cargo clippy --workspace --all-targets --locked --quiet -- -D warnings)

test: setup-test lint .make/python
	$(call step,web tests,npm test --silent)
	$(call step,cargo test,cargo test --workspace --locked --quiet)
	$(call step,calls between browsers,cargo build --locked --quiet --bin turnpike && $(NODE_TEST) tests/browser/)
	$(call step,clients of others,$(NODE_TEST) tests/clients/)

# The short forms of these are in `make test`.
soak: setup-test web .make/python
	$(call step,soak tests,cargo test --release --workspace --locked --quiet -- --ignored soak_ --nocapture --test-threads 1)
	$(call step,calls of six minutes,cargo build --locked --quiet --bin turnpike && CALL_SECONDS=360 $(NODE_TEST) --test-name-pattern="aiortc calls" tests/clients/)

ROUNDS ?= 6
CELL_SECONDS ?= 2
BENCH_ARGS ?= --syscalls
BENCH = $${CARGO_TARGET_DIR:-target}/release
bench: setup-bench web | .make
	$(call step,release build,cargo build --locked --release --quiet --bin turnpike && cargo build --locked --release --quiet -p turnpike-bench)
	$(call step,core alone,cargo bench --locked --quiet -p turnpike-proto --bench core)
	$(call step,servers in turn,TURNPIKE=$${TURNPIKE:-$(BENCH)/turnpike} $(BENCH)/turnpike-bench compare --rounds $(ROUNDS) --seconds $(CELL_SECONDS) --markdown .make/bench.md --json .make/bench.json $(BENCH_ARGS))
	$(call step,ten thousand allocations,TURNPIKE=$${TURNPIKE:-$(BENCH)/turnpike} $(BENCH)/turnpike-bench many)
	@echo 'the tables are in .make/bench.md, every sample in .make/bench.json'

# Sockets, matches, signals and a restart, beside a small server on Node.
CROWD = $${CARGO_TARGET_DIR:-target}/release/turnpike-signaling-bench
bench-signaling: setup-build web | .make
	$(call step,release build,cargo build --locked --release --quiet --bin turnpike && cargo build --locked --release --quiet -p turnpike-signaling-bench)
	$(call step,crowds,TURNPIKE=$${TURNPIKE:-$(BENCH)/turnpike} $(CROWD) all --markdown .make/crowds.md --json .make/crowds.json)

SECONDS ?= 60
FUZZED := relay/proto config
fuzz: setup-build
	@$(call packages,g++)
	@rustc +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --quiet
	@for crate in $(FUZZED); do \
	  cd $(CURDIR)/$$crate; \
	  for target in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run $$target -- -max_total_time=$(SECONDS); done; \
	done

clean:
	@rm -rf .make signaling/web/dist signaling/client/dist
	@cargo clean
