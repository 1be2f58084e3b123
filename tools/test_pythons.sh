#!/usr/bin/env bash
# Run tests on several Pythons: tools/test_pythons.sh [-n] [-b] [pytest arguments]
#
#   -n  only the newest Python
#   -b  bring the Pythons that are missing from Debian's newest release. Needs root, Linux and a mirror that apt knows.
#
# PYTHONS names the Pythons, or gives their paths. POOL is the folder for environments and for Debian; it is kept.
# The last line says how many Pythons passed. Exits with 1 if one failed, and with 3 if there was none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHONS=${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}
POOL=${POOL:-${TMPDIR:-/tmp}/haulier-pythons-$(id -u)}
newest='' bring=''
while getopts nb option; do
    case $option in n) newest=1 ;; b) bring=1 ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))

debian=$POOL/debian
envs=$POOL/envs
mkdir -p "$envs"

say() { printf '\n-- %s\n' "$*"; }

works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# A command of Debian's newest release, on this project: a chroot that lasts as long as the command.
in_debian() {
    # shellcheck disable=SC2016  # the inner shell expands it
    unshare --mount bash -ec '
        mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"
        mkdir -p "$0$1"; mount --bind "$1" "$0$1"; mkdir -p "$0$2"; mount --bind "$2" "$0$2"
        chroot "$0" /usr/bin/env --chdir="$1" "${@:3}"' "$debian" "$PWD" "$envs" "$@"
}

# Every step of the functions below returns on its own: 'set -e' does not hold inside a condition.
bring_debian() {
    [[ ! -e $debian/.made ]] || return 0
    say "Bringing Debian's newest release into $debian: once, a few minutes"
    rm -rf "$debian"
    local mirror authority=/etc/ssl/certs/ca-certificates.crt
    command -v debootstrap >/dev/null || {
        apt-get update -qq && apt-get install -qq --yes --no-install-recommends debootstrap
    } >"$POOL/debian.log" 2>&1 || return
    # shellcheck disable=SC2016  # apt expands it
    mirror=$(apt-get indextargets --format '$(SITE)' 'CREATED_BY: Packages' 'COMPONENT: main' |
        sort | uniq -c | sort -n | awk 'END { print $2 }')
    debootstrap --variant=minbase --include=ca-certificates sid "$debian" "$mirror" >"$POOL/debian.log" 2>&1 || return
    in_debian apt-get -o Acquire::Check-Valid-Until=false update -qq >>"$POOL/debian.log" 2>&1 || return
    # Where a closed network has put its own authority in by hand, pip needs it there, too.
    [[ ! -s $authority ]] || cp "$authority" "$debian$authority" || return
    touch "$debian/.made"
}

# Debian's packages of Python $1. Fails if Debian has none.
bring_python() {
    in_debian env DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends install "$1-venv" \
        >>"$POOL/debian.log" 2>&1
}

# Make the environment of Python $1, which $2 runs ('' or in_debian), and run the tests in it.
test_python() {
    local env="$envs/${2:-here}-${1//\//_}" run=$2
    local pip=("$env/bin/python" -m pip --disable-pip-version-check --quiet install)
    if [[ ! -e $env/.made || pyproject.toml -nt $env/.made ]]; then
        $run "$1" -m venv --clear "$env" || return
        $run "${pip[@]}" --upgrade 'pip>=25.1' || return
        $run "${pip[@]}" --editable '.[cli,ytdlp,postgres]' --group test || return
        touch "$env/.made"
    fi
    say "$($run "$env/bin/python" -V 2>&1)${run:+ of Debian}"
    $run env PYTHONPATH="$PWD/src" PATH="$env/bin:$PATH" "$env/bin/python" -m pytest -q -p no:cacheprovider "${@:3}"
}

read -ra wanted <<<"$PYTHONS"
if [[ -n $newest ]]; then
    mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | tac)
fi
passed=0 failed=()
for python in "${wanted[@]}"; do
    run=''
    if ! works "$python"; then
        if [[ -z $bring ]] || ! { bring_debian && bring_python "$python"; }; then
            say "$python: not found; a path to it may stand in PYTHONS"
            continue
        fi
        run=in_debian
    fi
    if test_python "$python" "$run" "$@"; then passed=$((passed + 1)); else failed+=("$python"); fi
    [[ -z $newest ]] || break
done
say "$passed passed, ${#failed[@]} failed${failed:+: ${failed[*]}}"
((!${#failed[@]})) || exit 1
((passed)) || exit 3
