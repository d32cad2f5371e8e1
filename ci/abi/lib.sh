# What recording and comparing the ABI share. Sourced after ci/lib.sh.
# shellcheck shell=bash
need gcc:gcc abidw:abigail-tools python3:python3

# abi_of HEADER FOLDER [RECORDED]: writes FOLDER/libkms.abi and names.txt; see library.py.
abi_of() {
    python3 ci/abi/library.py "$1" "$2" ${3:+"$3/names.txt"} &&
        (cd "$2" && gcc -std=c99 -g -w -shared -fPIC -Wl,-soname,libkms.so.0 -o libkms.so library.c &&
            abidw --no-corpus-path --no-comp-dir-path --no-show-locs --out-file libkms.abi libkms.so)
}
