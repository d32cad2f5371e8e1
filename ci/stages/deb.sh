#!/usr/bin/env bash
# The Debian packages install, serve a client, and leave nothing when purged: here if root, else in a separate dpkg folder.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc dpkg-deb:dpkg pkg-config:pkg-config
build_release
build_pkcs11
COMPRESSION='-Zgzip -z1' packaging/deb

packages=(libkms0 libkms0-dbgsym libkms-dev libkms-tools libkms-pkcs11)
version=$(package_version)
work=$(mktemp -d)
known() { [ "$(dpkg-query "${DATABASE[@]}" -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }
DATABASE=() root=''
if [ "$(id -u)" != 0 ] || known libkms0 || known libkms0-dbgsym || known libkms-dev || known libkms-tools || known libkms-pkcs11; then
    root=$work/root
    DATABASE=(--admindir="$root/var/lib/dpkg")
    mkdir -p "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/info"
    : >"$root/var/lib/dpkg/status"
    dpkg_here() { dpkg --root="$root" --force-not-root --force-script-chrootless --force-depends --log=/dev/null "$@"; }
else
    dpkg_here() { dpkg "$@"; }
fi
clean_up() {
    if known libkms-dev || known libkms0 || known libkms0-dbgsym || known libkms-tools || known libkms-pkcs11; then dpkg_here --purge "${packages[@]}" >/dev/null; fi
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
# addr2line finds the line tables as a debugger does, by the build id.
lines() {
    local at id library symbols
    library=$(find "$root/usr/lib" -name "libkms.so.$version")
    id=$(readelf -n "$library" | sed -n 's/.*Build ID: //p')
    symbols=$root/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug
    at=$(nm -D --defined-only "$library" | awk '$3 == "kms_version" { print $1 }')
    [ -f "$symbols" ] && ! readelf -S "$library" | grep '\.debug_line' && addr2line -e "$symbols" "0x$at" | grep '\.rs:[0-9]'
}
attempt "the library is stripped, and its line tables are in libkms0-dbgsym" lines
# Compiled programs keep running without the -dev package.
runtime_alone() { dpkg_here --purge libkms-dev && [ "$("$work/client")" = "libkms $version" ] && [ ! -e "$root/usr/include/kms.h" ]; }
attempt "libkms0 alone runs it" runtime_alone
tools_alone() { dpkg_here --purge libkms0-dbgsym libkms0 && kms_works "$root/usr/bin/kms"; }
attempt "libkms-tools needs no other package" tools_alone
# One slot, of a keystore that the command made; python3 is what every build has to load a module with.
module_works() (
    at=$(find "$root/usr/lib" -name libkms-pkcs11.so) && cd "$work" && "$root/usr/bin/kms" --keystore "$work/p11.db" --root-key-file "$work/p11.key" init &&
        printf '[[slot]]\nlabel = "deb"\nkeystore = "%s/p11.db"\nroot_key_file = "%s/p11.key"\n' "$work" "$work" >"$work/p11.toml" && chmod 600 "$work/p11.toml" &&
        grep "^module: .*/libkms-pkcs11.so$" "$root/usr/share/p11-kit/modules/libkms.module" &&
        KMS_PKCS11_CONF=$work/p11.toml python3 - "$at" <<'END'
import ctypes, sys
functions = ctypes.POINTER(ctypes.c_void_p)()
module = ctypes.CDLL(sys.argv[1])
assert module.C_GetFunctionList(ctypes.byref(functions)) == 0
# After the version: C_Initialize and C_Finalize.
call = lambda at: ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(functions[at])(None)
assert call(1) == 0 and call(2) == 0
END
)
attempt "libkms-pkcs11 opens a keystore" module_works
nothing_left() { dpkg_here --purge libkms-tools libkms-pkcs11 && files | diff "$work/before" -; }
attempt "purged, nothing is left" nothing_left
all_passed
