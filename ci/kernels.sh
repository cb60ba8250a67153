#!/usr/bin/env bash
# Runs the test binaries on the distribution's 6.1 and 6.12 kernels, in QEMU, and says what passed, failed and was
# skipped on each. Needs no root: packages are downloaded and unpacked, not installed.
#
#   ci/kernels.sh                 every test binary at its full size
#   ci/kernels.sh --quick         every test binary at a tenth of its size (what check.sh runs)
#   ci/kernels.sh --series 6.12   one series only (repeatable)
#   ci/kernels.sh --only REGEX    only test binaries, and examples for them, whose name matches
#   ci/kernels.sh --allow-missing exit 0 when QEMU or a kernel cannot be had (without it that is a failure)
#   ci/kernels.sh --keep-log      print where each console log is, also on success
#
# The kernel image is found by the package search at run time, never named here: point releases come and go.
set -uo pipefail
cd "$(dirname "$0")/.."

# What these test is this source tree, which is not in the guest.
NOT_ABOUT_THE_KERNEL='^(layers|unsafe_list|op_flow|ops_table|must_not_compile|readme|condy_table)$'

cache=$PWD/ci/.cache
target=x86_64-unknown-linux-gnu
quick=0 only=. allow_missing=0 keep_log=0 series=()
while (($#)); do
    case $1 in
        --quick) quick=1 ;;
        --full) quick=0 ;;
        --only) only=$2; shift ;;
        --series) series+=("$2"); shift ;;
        --allow-missing) allow_missing=1 ;;
        --keep-log) keep_log=1 ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) echo "kernels: unknown option $1 (try --help)" >&2; exit 2 ;;
    esac
    shift
done
((${#series[@]})) || series=(6.1 6.12)

missing() { # nothing was tested: never pass for "all passed"
    echo "kernels: NOT RUN: $*" >&2
    ((allow_missing)) && { echo "kernels: skipped, as --allow-missing asks" >&2; exit 0; }
    exit 1
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$cache"

# --- what the guest needs -------------------------------------------------------------------------------------------

command -v qemu-system-x86_64 >/dev/null || missing "qemu-system-x86_64 is not installed (package qemu-system-x86)"
command -v apt-get >/dev/null || missing "apt-get is not here: the kernels come from the package archive"

# unpack PACKAGE: downloads it and unpacks it below the cache, once. Prints the directory.
unpack() {
    local dir=$cache/$1
    if [[ ! -e $dir/.complete ]]; then
        rm -rf "$dir" && mkdir -p "$dir" "$tmp/deb" || return 1
        (cd "$tmp/deb" && rm -f ./*.deb && apt-get download -q -o APT::Sandbox::User=root "$1" >&2) || return 1
        dpkg -x "$tmp"/deb/*.deb "$dir" && touch "$dir/.complete" || return 1
    fi
    echo "$dir"
}

# newest PACKAGE of one series, by version order
image_of() {
    apt-cache search --names-only "^linux-image-${1//./\\.}\\..*cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -n1
}

is_static() { [[ -x $1 ]] && ! ldd "$1" >/dev/null 2>&1; }
busybox=$(command -v busybox || true)
if ! is_static "$busybox"; then
    dir=$(unpack busybox-static) || missing "no static busybox, and the package busybox-static cannot be downloaded"
    busybox=$(find "$dir" -name busybox -type f | head -n1)
fi

# --- the test binaries, static, so that the guest needs no library --------------------------------------------------

# With --only, the tests and the examples that match: some tests run an example.
what=() examples=()
if [[ $only != . ]]; then
    [[ millstream =~ $only ]] && what+=(--lib)
    for name in $(cargo test -p millstream --test 2>&1 | sed -n 's/^    //p'); do # without a name it lists them
        [[ $name =~ $only ]] || continue
        what+=(--test "$name")
    done
    for name in examples/*; do
        name=$(basename "$name" .rs)
        [[ $name =~ $only ]] && examples+=(--example "$name")
    done
    ((${#what[@]})) || { echo "kernels: no test binary matches" >&2; exit 1; }
fi

echo "kernels: building static test binaries" >&2
# Debug assertions stay on; a little optimisation because the guest's processor is emulated.
build() {
    RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" CARGO_PROFILE_TEST_OPT_LEVEL=1 \
        cargo "$@" -p millstream --target "$target" --target-dir target/kernels \
        --message-format=json-render-diagnostics >>"$tmp/build.json" || { echo "kernels: the build failed" >&2; exit 1; }
}
build test --no-run "${what[@]}"
((!${#examples[@]})) || build build "${examples[@]}" # a test of all has built them
mkdir -p "$tmp/root/target/deps" "$tmp/root/target/examples" # as cargo lays them out: tests look for examples there
count=0
while read -r binary; do
    name=$(basename "$binary")
    name=${name%-*}
    [[ $name =~ $NOT_ABOUT_THE_KERNEL || ! $name =~ $only ]] && continue
    cp "$binary" "$tmp/root/target/deps/$name"
    count=$((count + 1))
done < <(sed -n 's/.*"test":true.*"executable":"\([^"]*\)".*/\1/p' "$tmp/build.json")
while read -r binary; do
    cp "$binary" "$tmp/root/target/examples/"
done < <(sed -n 's/.*"kind":\["example"\].*"executable":"\([^"]*\)".*/\1/p' "$tmp/build.json")
((count)) || { echo "kernels: no test binary matches" >&2; exit 1; }

# What a test compares with must be the real one, not busybox's. Only these need libraries.
mkdir -p "$tmp/root/usr/bin"
for tool in sh find sort xargs sha256sum cp; do
    tool=$(command -v $tool)
    cp -L "$tool" "$tmp/root/usr/bin/"
    for library in $(ldd "$tool" | grep -o '/[^ ]*'); do
        [[ -e $tmp/root/$library ]] || (mkdir -p "$tmp/root/${library%/*}" && cp -L "$library" "$tmp/root/$library")
    done
done

# --- the guest ------------------------------------------------------------------------------------------------------

mkdir -p "$tmp/root"/{bin,proc,sys,dev,tmp,etc}
cp Cargo.toml "$tmp/root/" # tests read it: it is there wherever cargo runs them
echo guest >"$tmp/root/etc/hostname"
cp "$busybox" "$tmp/root/bin/busybox"
cat >"$tmp/root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts && mount -t tmpfs shm /dev/shm && mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
ip link set lo up
export PATH=/usr/bin:/bin HOME=/tmp TMPDIR=/tmp RUST_BACKTRACE=0 MILLSTREAM_QUICK=$quick MILLSTREAM_GUEST=1
echo "@@ kernel \$(uname -r)"
cd /tmp && cp /Cargo.toml .
for test in /target/deps/*; do
    echo "@@ begin \${test##*/}"
    timeout -s KILL $((quick ? 120 : 600)) "\$test" --show-output --test-threads=2 >/tmp/out 2>&1 </dev/null
    # An emulated processor is slow by fits and starts. What failed gets a second try, alone, and a line in the report.
    names=\$(sed -n 's/^test \(.*\) \.\.\. FAILED\$/\1/p' /tmp/out)
    if [ -n "\$names" ] && timeout -s KILL 60 "\$test" --exact \$names --test-threads=1 >/tmp/again 2>&1 </dev/null; then
        for name in \$names; do echo "@@ again \${test##*/} \$name"; done
        sed 's/^test result: FAILED\. \([0-9]*\) passed; \([0-9]*\) failed;/test result: ok. \1 passed; 0 failed; \2 again;/' /tmp/out
    else
        cat /tmp/out
    fi
    echo "@@ end \${test##*/}"
done
echo "@@ finished"
poweroff -f
INIT
chmod +x "$tmp/root/init"
(cd "$tmp/root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$tmp/initrd" || {
    echo "kernels: the initramfs could not be packed" >&2
    exit 1
}

# --- run and report -------------------------------------------------------------------------------------------------

failed=0
for one in "${series[@]}"; do
    package=$(image_of "$one")
    [[ -n $package ]] || missing "the package archive has no linux-image-$one.*-cloud-amd64 (is it up to date?)"
    dir=$(unpack "$package") || missing "$package cannot be downloaded"
    kernel=$(find "$dir/boot" -name 'vmlinuz-*' | head -n1)
    log=$cache/console-$one.log
    began=$SECONDS
    # 1 GiB holds the unpacked initramfs and a ring or two; a hung guest is killed and counts as failed.
    timeout -s KILL $((quick ? 600 : 3600)) qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
        -nodefaults -no-user-config -display none -no-reboot -serial "file:$log" \
        -kernel "$kernel" -initrd "$tmp/initrd" \
        -append "console=ttyS0 loglevel=4 panic=-1 random.trust_cpu=on mitigations=off" 2>"$tmp/qemu" </dev/null
    tr -d '\r' <"$log" >"$tmp/log"

    verdict=ok
    grep -q '^@@ finished' "$tmp/log" || verdict="FAILED: the guest did not reach its end"
    grep -qE 'Kernel panic|BUG: |Oops: |general protection fault' "$tmp/log" && verdict="FAILED: the kernel complained"
    read -r passed bad ignored results < <(awk '
        /^test result: / { r++; for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i
                                                         if ($(i+1) ~ /^ignored/) g += $i } }
        END { print p+0, f+0, g+0, r+0 }' "$tmp/log")
    skipped=$(grep -c '^SKIPPED: ' "$tmp/log")
    ((bad == 0)) || verdict="FAILED"
    ((results == count)) || verdict="FAILED: $((count - results)) of $count test binaries gave no result"
    [[ $verdict == ok ]] || failed=1

    release=$(sed -n 's/^@@ kernel //p' "$tmp/log")
    echo "kernels: ${release:-$one}: $passed passed, $bad failed, $ignored ignored, $skipped skipped" \
        "($count binaries, $((SECONDS - began)) s): $verdict"
    sed -n 's/^SKIPPED: /    skipped: /p' "$tmp/log" | sort | uniq
    sed -n 's/^@@ again /    passed only when tried again, alone: /p' "$tmp/log"
    if [[ $verdict != ok ]]; then
        # What the failed tests said: the harness prints it between "failures:" and the list of names.
        awk '/^@@ begin/ { name = $3; said = 0 }
             /Kernel panic|BUG: |Oops: |^WATCHDOG: / { print "    " name ": " $0; next }
             /^failures:$/ { said = !said; next }
             /^successes:$/ { said = 0 }
             said && !/^$/ && !/^note: / { print "    " name ": " $0 }' "$tmp/log"
        awk '/^@@ end/ { name = $3 } /^test result/ { seen = 1 } /^@@ end/ { if (!seen) print "    " name ": no result (killed?)"; seen = 0 }' "$tmp/log"
        echo "    console: ${log#"$PWD"/}"
        [[ -s $tmp/qemu ]] && sed 's/^/    qemu: /' "$tmp/qemu"
        grep -q '^@@ ' "$tmp/log" || tail -n 20 "$tmp/log" | sed 's/^/    | /'
    elif ((keep_log)); then
        echo "    console: ${log#"$PWD"/}"
    fi
done
exit $failed
