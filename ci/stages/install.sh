#!/usr/bin/env bash
# `make install` serves clients outside the tree: plain cc with pkg-config, statically, CMake; the manual; `make uninstall`.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc g++:g++ make:make pkg-config:pkg-config cmake:cmake mandoc:mandoc man:man-db python3:python3
build_release
build_pkcs11
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(package_version)
prefix=$work/usr
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cp tests/install/* "$work"

kms_libs() { pkg-config "$@" kms; }
says_version() { [ "$("$@")" = "libkms $version" ]; }
needs() { readelf -d "$1" | grep 'NEEDED.*libkms\.so\.0' >/dev/null; }

attempt "make install" make install PREFIX="$prefix"
all_passed

layout() {
    [ "$(readlink "$prefix/lib/libkms.so")" = libkms.so.0 ] && [ "$(readlink "$prefix/lib/libkms.so.0")" = "libkms.so.$version" ] &&
        readelf -d "$prefix/lib/libkms.so.$version" | grep 'SONAME.*\[libkms\.so\.0\]' >/dev/null
}
attempt "libkms.so, libkms.so.0 and libkms.so.$version are one chain" layout
attempt "pkg-config knows the version" pkg-config --exact-version="$version" kms

with_pkg_config() (
    cd "$work" && gcc -o plain client.c $(kms_libs --cflags --libs) && needs plain && LD_LIBRARY_PATH=$prefix/lib says_version ./plain
)
# The private libraries of kms.pc are all that a static link needs: of libkms alone, and of everything.
mixed() (
    cd "$work" && gcc -o mixed client.c $(kms_libs --cflags) -Wl,-Bstatic $(kms_libs --libs-only-L) -lkms -Wl,-Bdynamic \
        $(kms_libs --static --libs-only-l | sed 's/-lkms//') && ! needs mixed && says_version ./mixed
)
static() (
    cd "$work" && gcc -static -o static client.c $(kms_libs --static --cflags --libs) && says_version ./static &&
        ! readelf -d static | grep -q NEEDED
)
with_cxx() (
    cd "$work" && g++ -std=c++17 -o cxx client.cpp $(kms_libs --cflags --libs) && LD_LIBRARY_PATH=$prefix/lib says_version ./cxx
)
attempt "cc with pkg-config" with_pkg_config
attempt "cc with libkms.a" mixed
attempt "cc -static" static
attempt "c++ with pkg-config" with_cxx

# The README's C, in a program's main.
readme() (
    { echo '#include <kms.h>'; echo 'int main(void) {'; sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d'; echo 'return status; }'; } \
        >"$work/readme.c" && mkdir "$work/readme" && cd "$work/readme" &&
        gcc -Wall -Wextra -Werror -o readme ../readme.c $(kms_libs --cflags --libs) && LD_LIBRARY_PATH=$prefix/lib ./readme && [ -s keys.db ]
)
attempt "the README's C compiles without a warning and runs" readme

configure() { rm -rf "$work/build" && cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$1" -DWANTED="$2"; }
with_cmake() {
    configure "$1" "$version" && cmake --build "$work/build" && says_version "$work/build/client" && needs "$work/build/client" &&
        says_version "$work/build/client_static" && ! needs "$work/build/client_static" && says_version "$work/build/client_cpp"
}
refused() { ! configure "$prefix" "$1"; }
attempt "CMake: kms::kms, kms::static, kms::cpp" with_cmake "$prefix"
attempt "CMake refuses a newer version" refused 99.0
attempt "CMake refuses another series" refused 0.0
moved() { mv "$prefix" "$work/elsewhere" && with_cmake "$work/elsewhere" && mv "$work/elsewhere" "$prefix"; }
attempt "CMake: the folder may be moved" moved

pages() { find "$prefix/share/man" -type f; }
no_warning() { local out; out=$("$@" 2>&1 >/dev/null) && [ -z "$out" ] || { printf '%s\n' "$out"; return 1; }; }
clean_page() { no_warning mandoc -Tlint -Wwarning "$1" && no_warning man --warnings -l "$1"; }
every_page_is_clean() {
    local page
    for page in $(pages); do
        grep -q '^\.so ' "$page" || clean_page "$page" || return 1
    done
}
# Each function of the header has a page that names it, and each link leads to one.
every_function_has_a_page() {
    local name page
    for name in $(nm -D --defined-only "$LIBRARY" | awk '{ print $NF }'); do
        page=$prefix/share/man/man3/$name.3
        [ ! -f "$page" ] || ! grep -q '^\.so ' "$page" || page=$prefix/share/man/$(sed 's/^\.so //' "$page")
        grep -q "^\.SS $name\$" "$page" || { echo "no page for $name"; return 1; }
    done
}
attempt "the manual pages have no warning" every_page_is_clean
attempt "every exported function has its page" every_function_has_a_page

attempt "kms makes a keystore, encrypts and decrypts" kms_works "$prefix/bin/kms"
every_command_has_a_page() {
    local name commands
    commands=$("$prefix/bin/kms" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
    [ "$(wc -w <<<"$commands")" -gt 10 ] || { echo "kms --help lists: $commands"; return 1; }
    for name in $commands; do
        [ -f "$prefix/share/man/man1/kms-$name.1" ] || { echo "no page for kms $name"; return 1; }
    done
}
attempt "every command has its page" every_command_has_a_page
# The shell itself reads the file, and completes a command.
bash_completes() (
    # shellcheck source=/dev/null
    . "$prefix/share/bash-completion/completions/kms" && COMP_WORDS=(kms enc) COMP_CWORD=1 && _kms kms enc kms && [ "${COMPREPLY[*]}" = encrypt ]
)
attempt "bash completes" bash_completes
other_shells() { grep -q '^#compdef kms$' "$prefix/share/zsh/site-functions/_kms" && grep -q '^complete -c kms' "$prefix/share/fish/vendor_completions.d/kms.fish"; }
attempt "zsh and fish have completions" other_shells

uninstalled() { make uninstall PREFIX="$prefix" && [ -z "$(find "$prefix" ! -type d)" ] && [ ! -e "$prefix/include/kms" ]; }
attempt "make uninstall leaves nothing" uninstalled
staged() {
    make install PREFIX=/usr LIBDIR=/usr/lib/x DESTDIR="$work/staged" && grep -qx 'libdir=${prefix}/lib/x' "$work/staged/usr/lib/x/pkgconfig/kms.pc" &&
        [ -f "$work/staged/usr/lib/x/libkms.so.0" ] && ! grep -rlF "$work" "$work/staged"
}
attempt "DESTDIR is where it is put, not where it thinks it is" staged
all_passed
