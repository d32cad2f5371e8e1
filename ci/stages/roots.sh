#!/usr/bin/env bash
# Packages and wheels of `make dist` in new roots of Debian 12 and 13, for x86-64 and, under qemu-user, aarch64.
# It needs root and the network. C programs are compiled outside the root. ROOTS names some: "trixie/arm64".
. "$(dirname "$0")/../lib.sh"
[ "$(id -u)" = 0 ] || die "only root makes roots with debootstrap"
need debootstrap:debootstrap gcc:gcc aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu dpkg-deb:dpkg git:git unshare:util-linux \
    /usr/libexec/qemu-binfmt/aarch64-binfmt-P:qemu-user-static
ROOTS=${ROOTS:-bookworm/amd64 trixie/amd64 bookworm/arm64 trixie/arm64}
released=$ROOT/target/dist version=$(package_version)
[ -f "$released/libkms-$version-source.tar.gz" ] &&
    [ "$(gunzip -c "$released/libkms-$version-source.tar.gz" | git get-tar-commit-id)" = "$(git rev-parse HEAD)" ] ||
    die "target/dist is not of this commit; type: make dist"

work=$(mktemp -d) registered=''
clean_up() {
    [ -z "$registered" ] || echo -1 >"$binfmt/qemu-aarch64"
    rm -rf "$work"
}
trap clean_up EXIT
# In every root the kernel runs aarch64 programs by qemu. The end of the stage restores this machine's setting.
binfmt=/proc/sys/fs/binfmt_misc
case $ROOTS in
    *arm64*)
        [ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
        if [ ! -e "$binfmt/qemu-aarch64" ]; then
            cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$binfmt/register"
            registered=1
        fi
        ;;
esac

# Those that neither fork nor start a program.
PROGRAMS="crypt key rotation batch data_key call byok outputs root file stream status version verify"

inside() {
    unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}
# The packages name the libraries that they need; ldd says where the root has them.
libraries_are_there() { ! inside sh -c "ldd /usr/bin/kms /usr/lib/*/libkms.so.0 /usr/lib/*/libkms-pkcs11.so" | grep 'not found'; }
compile() {
    "$compiler" -std=c99 -Wall -Wextra -Werror -O1 -pthread -I"$work/$architecture/usr/include" -Itests/c \
        -o "$root/tests/$1" "tests/c/$1.c" -L"$(dirname "$work/$architecture"/usr/lib/*/libkms.so)" -lkms
}
python_works() {
    inside sh -ec 'cd "$(mktemp -d)" && /venv/bin/python -' <<'END'
import libkms
from datetime import timedelta

with libkms.open("keys.db", root_key_file="root.key", create=True) as kms:
    key = kms.create_key(description="orders", rotate_every=timedelta(days=90))
    blob = kms.encrypt(key.id, b"4111 1111", context={"tenant": "42"})
with libkms.open("keys.db", root_key_file="root.key") as kms:
    assert kms.decrypt(blob, context={"tenant": "42"}) == b"4111 1111"
END
}
# The limit of five seconds holds on an idle machine without emulation.
quick_to_install() { [ "$architecture" != amd64 ] || [ "$1" -le 5000 ]; }

for place in $ROOTS; do
    suite=${place%/*} architecture=${place#*/} root=$work/root
    compiler=gcc machine=x86_64
    [ "$architecture" != arm64 ] || compiler=aarch64-linux-gnu-gcc machine=aarch64
    attempt "$place: debootstrap" debootstrap --variant=minbase --arch="$architecture" --include=python3-venv "$suite" "$root"
    all_passed
    mkdir "$root/released" "$root/tests"
    cp "$released"/*_"$architecture".deb "$released"/libkms-*manylinux*_"$machine".whl "$root/released/"
    attempt "$place: the packages install" inside sh -c 'dpkg --install /released/*.deb'
    all_passed
    attempt "$place: nothing is missing" libraries_are_there
    attempt "$place: kms encrypts and decrypts" inside sh -c "$KMS_WORKS" kms
    rm -rf "${work:?}/$architecture"
    for package in libkms0 libkms-dev; do dpkg-deb -x "$root"/released/"$package"_*.deb "$work/$architecture"; done
    for program in $PROGRAMS; do
        attempt "$place: compile $program" compile "$program"
        attempt "$place: $program" inside sh -c 'cd "$(mktemp -d)" && timeout 600 "$0" .' "/tests/$program"
    done
    attempt "$place: an environment for Python" inside python3 -m venv /venv
    began=$(date +%s%3N)
    attempt "$place: pip install" inside sh -c '/venv/bin/pip install --disable-pip-version-check --no-index --no-deps /released/*.whl'
    took=$(($(date +%s%3N) - began))
    say "$place: pip install took $took ms"
    attempt "$place: pip install takes at most five seconds" quick_to_install "$took"
    attempt "$place: Python encrypts and decrypts" python_works
    rm -rf --one-file-system "$root"
done
all_passed
