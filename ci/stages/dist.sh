#!/usr/bin/env bash
# `make dist` in two clones: the same bytes; the sdist builds offline, the crate is complete, the bill of materials is valid.
# `make test-long` also compares the Debian packages and the wheels, and leaves them in target/dist for the stage `roots`.
. "$(dirname "$0")/../lib.sh"
need git:git
use_postgres_build
use_python
python -m pip install --quiet --disable-pip-version-check --no-input "$(grep '^maturin==' bindings/python/requirements-wheel.txt)" </dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(package_version)
made="notes sbom source crate sdist"
[ -z "${KMS_LONG:-}" ] || made+=" deb deb-arm64 wheel wheel-aarch64 wheel-musl wheel-musl-aarch64"

for name in first second; do
    git clone --quiet --no-hardlinks . "$work/$name"
    mkdir "$work/$name/target"
    ln -s "$ROOT/target/python-venv" "$work/$name/target/"
    # The builds of a release take their flags from the checkout alone.
    attempt "make dist, the $name" env -u RUSTFLAGS -u CARGO_TARGET_DIR -u OPENSSL_NO_VENDOR -u OPENSSL_STATIC -u OPENSSL_LIBS -u OPENSSL_DIR \
        PARTS="$made" FOLDER="$work/$name-dist" make -C "$work/$name" dist
    rm -rf "${work:?}/$name"
done
all_passed
dist=$work/first-dist
same() { diff "$work/first-dist/SHA256SUMS" "$work/second-dist/SHA256SUMS" && diff -r "$work/first-dist" "$work/second-dist"; }
attempt "two builds, the same bytes" same
sums() { (cd "$work/first-dist" && sha256sum --check --strict SHA256SUMS) && [ "$(wc -l <"$work/first-dist/SHA256SUMS")" -ge 5 ]; }
attempt "SHA256SUMS names every file" sums

# With an empty home cargo has no crate but the vendored ones. OpenSSL is the one that the tests have.
offline() (
    cd "$work" && CARGO_HOME=$work/home CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=$work/sdist-build MATURIN_PEP517_ARGS='--profile dev' \
        python -m pip wheel --disable-pip-version-check --no-index --no-build-isolation --no-deps --wheel-dir "$work/wheels" \
        "$work/first-dist/libkms-$version.tar.gz" &&
        python -m pip install --disable-pip-version-check --no-index --no-deps --target "$work/site" "$work"/wheels/*.whl &&
        PYTHONPATH=$work/site python -c 'import libkms; print(libkms.__version__, libkms.__file__)' | grep "^$version $work/site"
)
attempt "the sdist builds without a registry" offline
# What cargo leaves out of a crate shows only when it is compiled.
complete() (
    tar -C "$work" -xzf "$work/first-dist/libkms-$version.crate" && cd "$work/libkms-$version" && cargo check --locked --quiet
)
attempt "the crate is complete" complete
valid() { python ci/check_sbom.py "$work/first-dist/libkms-$version.cdx.json" Cargo.lock; }
attempt "the bill of materials is valid" valid
notes() { grep -q "^# libkms $version$" "$work/first-dist/RELEASE-NOTES.md" && grep -q '^### Added$' "$work/first-dist/RELEASE-NOTES.md"; }
attempt "the release notes have the changes" notes

# The wheels and packages.
small() { [ "$(stat -c %s "$1")" -le $((6 << 20)) ]; }
# The module needs no newer glibc than the tag says, and on musl only its libc. auditwheel cannot read wheels for musl here.
tagged() {
    local module=$work/unpacked/libkms/_libkms.abi3.so newest
    case $1 in
        *musllinux*) [ "$(readelf -d "$module" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')" = libc.so ] ;;
        *)
            newest=$(readelf -V "$module" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
            [ "$(printf '%s\n' "$newest" GLIBC_2.28 | sort -V | tail -1)" = GLIBC_2.28 ] || return 1
            case $1 in
                *_x86_64.whl) auditwheel show "$1" | tr '\n' ' ' | grep -F 'consistent with the following platform tag: "manylinux_2_28_x86_64"' ;;
            esac
            ;;
    esac
}
# Their extracted files: no path of this build may occur in them.
names_no_folder() {
    rm -rf "$work/unpacked"
    case $1 in
        *.whl) python -m zipfile -e "$1" "$work/unpacked" ;;
        *.deb) dpkg-deb -x "$1" "$work/unpacked" ;;
    esac && ! grep -rF "$work" "$work/unpacked"
}
for file in "$dist"/*.whl "$dist"/*.deb; do
    [ -f "$file" ] || continue
    attempt "$(basename "$file") names no folder of the build" names_no_folder "$file"
    case $file in
        *.whl)
            attempt "$(basename "$file") has at most 6 MiB" small "$file"
            attempt "$(basename "$file") runs where its tag says" tagged "$file"
            ;;
    esac
done
all_passed
if [ -n "${KMS_LONG:-}" ]; then
    rm -rf target/dist
    mv "$dist" target/dist
fi
