# What can be made here; each target is one script of ci/, which installs what it needs.

# The stages of each run, in order; one alone: make test STAGE=clippy
TEST = fmt clippy header rust msrv cross release headers c misuse exports abi instructions cpp examples install deb demo decoder \
       system python
NIGHTLY = miri asan tsan loom fuzz foreign
LONG = long

# Where `make install` puts things; each may be given.
PREFIX = /usr/local
PLACES = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' $(foreach name,LIBDIR INCLUDEDIR MANDIR STRIP,$(if $(filter-out undefined default,$(origin $(name))),$(name)='$($(name))'))

.PHONY: help demo build install uninstall deb test test-nightly test-long fuzz header actions abi bench clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: ## build the library and run examples/quickstart.c; FILE=path encrypts a file of yours
	@FILE='$(FILE)' ci/stage demo

build: ## target/release/libkms.so, with OpenSSL built in
	@ci/stage release

install: ## put what `make build` made below PREFIX (/usr/local); DESTDIR=folder for packagers
	@$(PLACES) ci/install

uninstall: ## take it away again
	@$(PLACES) ci/install --remove

deb: ## target/deb/libkms0_*.deb and libkms-dev_*.deb
	@ci/deb

test: ## every check on stable Rust; STAGE=name runs one (ci/stage lists them)
	@ci/all $(or $(STAGE),$(TEST))

test-nightly: ## Miri, the sanitizers, loom and short fuzzing, on nightly Rust where needed
	@ci/all $(or $(STAGE),$(NIGHTLY))

test-long: ## the tests that count, with large counts; KMS_LONG=10 makes them ten times larger
	@ci/all $(or $(STAGE),$(LONG))

fuzz: ## fuzz each target for SECONDS (300); TARGET=name fuzzes one of fuzz/targets
	@ci/fuzz $(if $(filter-out environment default undefined,$(origin SECONDS)),$(SECONDS),300) $(TARGET)

actions: ## write docs/actions.md and the list in kms_call's text from src/service/call/table.rs
	@ci/actions

header: ## write include/kms.h from src/ffi
	@ci/header

abi: ## record the ABI in ci/abi/libkms.abi, after a change that is meant
	@ci/abi/record

bench: ## measure all beside what it is compared with; GROUP=name measures one group, QUICK=1 shows that it works
	@GROUP='$(GROUP)' QUICK='$(QUICK)' ci/bench

clean: ## remove everything that was built
	@rm -rf target
