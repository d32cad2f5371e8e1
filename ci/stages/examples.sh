#!/usr/bin/env bash
# The programs of examples/ compile without a warning and work as documented: C, C++, COBOL, Fortran.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc g++:g++ gfortran:gfortran pkg-config:pkg-config libcrypto.pc:libssl-dev
need cobc:"$(cobol_package)"
build_release
out=$ROOT/target/examples
libdir=$ROOT/$(dirname "$LIBRARY")
rm -rf "$out"
mkdir -p "$out"
link=(-L"$libdir" -Wl,-rpath,"$libdir" -lkms)

c() { compile_c "examples/$1.c" "$out/$1" "$LIBRARY" "${@:2}"; }
cxx() { g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -Ibindings/cpp/include -o "$out/$1_cpp" "examples/$1.cpp" "${link[@]}" -pthread; }
# The calls of COBOL find their functions when they are made, so the linker sees no use of libkms.
cobol() { cobc -x -free -Wall -Werror -o "$out/$1" "examples/$1.cob" -Q -Wl,--no-as-needed -L"$libdir" -Q -Wl,-rpath,"$libdir" -lkms; }
fortran() { gfortran -std=f2018 -Wall -Wextra -Werror -J"$out" -o "$out/$1" "examples/$1.f90" "${link[@]}"; }

# shellcheck disable=SC2046
with_libcrypto() { gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -Iinclude -o "$out/$1" "examples/$1.c" "${link[@]}" $(pkg-config --cflags --libs libcrypto); }
attempt "compile prefork.c" c prefork
attempt "compile no_threads.c" c no_threads
attempt "compile files.c" c files
attempt "compile envelope.c" with_libcrypto envelope
attempt "compile root_callback.c" with_libcrypto root_callback
attempt "compile quickstart.cpp" cxx quickstart
attempt "compile batch.cob" cobol batch
attempt "compile readings.f90" fortran readings
all_passed

for program in prefork no_threads quickstart_cpp root_callback batch readings; do
    attempt "run $program, and again beside what it left" in_empty_folder sh -c '"$0" "$1" && "$0" "$1"' "$out/$program"
done

# envelope_keeps SIZE: a file of that size round-trips, also after its key has rotated and its data key is re-encrypted.
same() { cmp "$1/in" "$1/out" && rm "$1/out"; }
envelope_keeps() {
    local at=$work/$1
    mkdir "$at" && head -c "$1" /dev/urandom >"$at/in" && "$out/envelope" seal "$at" "$at/in" "$at/sealed" &&
        "$out/envelope" open "$at" "$at/sealed" "$at/out" && same "$at" &&
        "$out/envelope" move "$at" "$at/sealed" && "$out/envelope" open "$at" "$at/sealed" "$at/out" && same "$at"
}
# refused FILE: it doesn't open, and nothing is left.
refused() { ! "$out/envelope" open "$work/131072" "$1" "$work/never" && [ ! -e "$work/never" ] && [ ! -e "$work/never.tmp" ]; }
flipped() { cp "$work/131072/sealed" "$work/bad" && printf '\125\252' | dd of="$work/bad" bs=1 seek="$1" conv=notrunc && refused "$work/bad"; }
cut_to() { head -c "$1" "$work/131072/sealed" >"$work/bad" && refused "$work/bad"; }
# files_keep SIZE: a file and a pipe of that size round-trip, and the end is readable alone. A truncated file fails.
files_keep() (
    mkdir "$work/files-$1" && cd "$work/files-$1" && head -c "$1" /dev/urandom >in &&
        "$out/files" encrypt in sealed && "$out/files" decrypt sealed again && cmp in again &&
        "$out/files" seal <in >piped && "$out/files" open <piped >opened && cmp in opened &&
        "$out/files" tail sealed 100 >end.shown && tail -c 100 in >end.in && cmp end.in end.shown &&
        head -c -1 piped >piped.short && ! "$out/files" open <piped.short >never
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for size in 0 1 65535 65536 65537 131072; do
    attempt "envelope: $size bytes" envelope_keeps "$size"
done
for size in 0 16384 300000; do attempt "files: $size bytes" files_keep "$size"; done
# The head has 1034 bytes, a chunk 65552.
for place in 20 1034 66590 132137; do attempt "envelope: a change at byte $place is seen" flipped "$place"; done
for size in 0 100 1034 1044 66586 132000; do attempt "envelope: cut to $size bytes is seen" cut_to "$size"; done
all_passed
