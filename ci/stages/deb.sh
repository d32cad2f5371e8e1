#!/usr/bin/env bash
# The Debian packages install, serve a client, and leave nothing when purged: here if root, else in a folder of dpkg's own.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc dpkg-deb:dpkg pkg-config:pkg-config
build_release
COMPRESSION='-Zgzip -z1' packaging/deb

packages=(libkms0 libkms-dev libkms-tools)
version=$(package_version)
work=$(mktemp -d)
known() { [ "$(dpkg-query "${DATABASE[@]}" -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }
DATABASE=() root=''
if [ "$(id -u)" != 0 ] || known libkms0 || known libkms-dev || known libkms-tools; then
    root=$work/root
    DATABASE=(--admindir="$root/var/lib/dpkg")
    mkdir -p "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/info"
    : >"$root/var/lib/dpkg/status"
    dpkg_here() { dpkg --root="$root" --force-not-root --force-script-chrootless --force-depends --log=/dev/null "$@"; }
else
    dpkg_here() { dpkg "$@"; }
fi
clean_up() {
    if known libkms-dev || known libkms0 || known libkms-tools; then dpkg_here --purge "${packages[@]}" >/dev/null; fi
    rm -rf "$work"
}
trap clean_up EXIT

files() { find "$root/usr" "$root/etc" "$root/var/lib/dpkg/info" -path '*kms*' 2>/dev/null | sort; }
files >"$work/before"

attempt "install" dpkg_here --install target/deb/*.deb
all_passed
# A container may be set up to leave manuals and documents out.
verified() { ! { dpkg_here --verify "${packages[@]}" || true; } | grep -vE '^missing .* /usr/share/(man|doc)/'; }
attempt "the files are those of the package" verified

flags=()
client() {
    if [ -n "$root" ]; then
        export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH
        PKG_CONFIG_PATH=$(dirname "$(find "$root" -name kms.pc)")
        flags=(-Wl,-rpath,"$(dirname "$PKG_CONFIG_PATH")")
    fi
    gcc -o "$work/client" tests/install/client.c $(pkg-config --cflags --libs kms) ${flags[@]+"${flags[@]}"} &&
        [ "$("$work/client")" = "libkms $version" ] && readelf -d "$work/client" | grep 'NEEDED.*libkms\.so\.0' >/dev/null
}
attempt "a client compiles with pkg-config and runs" client
readme() {
    sed -n "/^cat >first.c <<'END'$/,/^END$/p" README.md | sed '1d;$d' >"$work/first.c" && [ -s "$work/first.c" ] &&
        gcc -Wall -Wextra -Werror -o "$work/first" "$work/first.c" $(pkg-config --cflags --libs kms) ${flags[@]+"${flags[@]}"} &&
        (cd "$work" && ./first >record) && [ "$(stat -c %s "$work/record")" = 89 ]
}
attempt "the README's program makes an encrypted record" readme
attempt "kms of libkms-tools makes a keystore, encrypts and decrypts" kms_works "$root/usr/bin/kms"
# Without the -dev package, what was compiled goes on running.
runtime_alone() { dpkg_here --purge libkms-dev && [ "$("$work/client")" = "libkms $version" ] && [ ! -e "$root/usr/include/kms.h" ]; }
attempt "libkms0 alone runs it" runtime_alone
tools_alone() { dpkg_here --purge libkms0 && kms_works "$root/usr/bin/kms"; }
attempt "libkms-tools needs no other package" tools_alone
nothing_left() { dpkg_here --purge libkms-tools && files | diff "$work/before" -; }
attempt "purged, nothing is left" nothing_left
all_passed
