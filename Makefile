# What can be made here; each target is a script, mostly a stage of ci/stages.

# Every change must pass TEST; the slow rest is ALL, and what needs nightly Rust NIGHTLY. One alone: make test STAGE=lint
TEST = lint header rust c exports cpp python demo
ALL = deny release pkcs11 abi instructions misuse valgrind clang examples install deb system postgres campaigns wheel foreign
NIGHTLY = unit tsan fuzz

# Where `make install` puts things; each may be given.
PREFIX = /usr/local
PLACES = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' $(foreach name,LIBDIR INCLUDEDIR MANDIR BINDIR ZSHDIR STRIP,$(if $(filter-out undefined default,$(origin $(name))),$(name)='$($(name))'))

.PHONY: help deps demo build install uninstall deb dist test test-all test-postgres test-nightly test-long coverage fuzz header actions abi bench clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

deps: ## install the Debian packages that the tests use, as root; ALL=1 for those of `make test-all` too
	@ci/deps $(if $(filter command line,$(origin ALL)),all)

demo: ## build the library and run examples/quickstart.c; FILE=path encrypts a file of yours
	@KMS_INSTALL=1 FILE='$(FILE)' ci/stage demo

build: ## target/release/libkms.so, the command target/release/kms and the PKCS#11 module, with OpenSSL built in
	@ci/stage release

install: ## put what `make build` made below PREFIX (/usr/local); DESTDIR=folder for packagers
	@$(PLACES) packaging/install

uninstall: ## take it away again
	@$(PLACES) packaging/install --remove

deb: ## target/deb/libkms0_*.deb, libkms-dev_*.deb, libkms-tools_*.deb and libkms-pkcs11_*.deb
	@packaging/deb

dist: ## target/dist: all that a release publishes, with checksums; PARTS="sdist wheel" makes some (packaging/dist lists them)
	@packaging/dist

test: ## what every change must pass; STAGE=name runs one stage (ci/stage lists them)
	@KMS_INSTALL=1 KMS_TABLE=1 ci/stage $(or $(STAGE),$(TEST))

test-all: ## the slow rest: release library, valgrind, packages, other platforms, whole campaigns
	@KMS_INSTALL=1 KMS_TABLE=1 ci/stage $(or $(STAGE),$(ALL))

test-postgres: ## the stage of `make test-all` that starts a PostgreSQL server, a standby and pgbouncer
	@KMS_INSTALL=1 KMS_TABLE=1 ci/stage postgres

test-nightly: ## Miri, the sanitizers, loom and short fuzzing, on nightly Rust where needed
	@KMS_INSTALL=1 KMS_TABLE=1 ci/stage $(or $(STAGE),$(NIGHTLY))

test-long: ## the campaigns with large counts; KMS_LONG=10 makes them ten times larger
	@KMS_LONG='$(or $(KMS_LONG),1)' KMS_TABLE=1 ci/stage campaigns postgres pkcs11-check cryptoki foreign dist roots

coverage: ## which lines of src/ the unit, contract and keystore tests reach; docs/test-results.md explains the rest
	@ci/stage coverage

fuzz: ## fuzz each target for SECONDS (300); TARGET=name fuzzes one of fuzz/targets
	@FUZZ_SECONDS=$(if $(filter-out environment default undefined,$(origin SECONDS)),$(SECONDS),300) TARGET='$(TARGET)' ci/stage fuzz

actions: ## write docs/actions.md and the list in kms_call's text from src/service/call/table.rs, then the header
	@KMS_UPDATE_ACTIONS=1 ci/cargo test --quiet --locked --lib the_documents_have_the_table
	@ci/cargo run --quiet --locked --package xtask -- header

header: ## write include/kms.h from src/ffi
	@ci/cargo run --quiet --locked --package xtask -- header

abi: ## record the ABI in ci/abi/libkms.abi, after a change that is meant
	@KMS_RECORD=1 ci/stage abi

bench: ## measure all beside what it is compared with; GROUP=name measures one group, QUICK=1 shows that it works
	@GROUP='$(GROUP)' QUICK='$(QUICK)' benches/run

clean: ## remove everything that was built
	@rm -rf target
