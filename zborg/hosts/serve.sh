#!/bin/sh
# zborg-serve: the storage's side, where borg serve runs on another machine than zborg. docs/agent.md explains it.
#
# sshd runs this as the forced command of one key of the unprivileged user zborg-serve:
#     restrict,command="/usr/local/libexec/zborg-serve /tank/borg /tank/zborg-scratch [BORG]" ssh-ed25519 AAAA...
# Arguments come from authorized_keys and are trusted; SSH_ORIGINAL_COMMAND and all other variables are not.
#
#   serve NAME [require]      borg serve, append-only, for the repository ROOT/NAME
#   read RUN NAME [require]   the same for SCRATCH/RUN/NAME, a clone that zborg made to read from
#   compact NAME [require]    borg compact for ROOT/NAME: zborg asks for it once audit found nothing but prunes
#
# With "require" nothing is served without a wall. The wall is wall.py, installed as zborg-wall.py beside this file;
# the first line on stderr says what stands.

# As in zborg-agent: nothing of the client's environment but the command, and an argument says it is done.
case ${1-} in
--clean) shift ;; # zborg on this machine also gives WALL, the text of wall.py, OWN ("uid" or nothing), LIMIT (KiB)
*) exec /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C COMMAND="${SSH_ORIGINAL_COMMAND-}" \
    /bin/sh "$0" --clean "$@" ;;
esac
set -f -u
umask 077

refuse() { # refuse [CODE] TEXT: what no zborg would ask is refused without a code
    case $# in 2) printf 'zborg-serve: %s refused: %s\n' "$1" "$2" ;; *) printf 'zborg-serve: refused: %s\n' "$1" ;; esac >&2
    shift $(($# - 1))
    logger -t zborg-serve -p auth.notice -- "refused: $1" >/dev/null 2>&1
    exit 2
}

# Where the system allows less already, that stays as it is.
limit() { (ulimit "$1" "$2") 2>/dev/null && ulimit "$1" "$2"; }

is_name() { case $1 in '' | -* | *[!a-z0-9-]*) false ;; *) [ ${#1} -le 31 ] ;; esac; }
is_run() { case $1 in '' | -* | *[!A-Za-z0-9-]*) false ;; *) [ ${#1} -le 40 ] ;; esac; }

case $# in 2 | 3) ;; *) false ;; esac || refuse E_SETUP "arguments in authorized_keys: ROOT SCRATCH [BORG]"
root=$1 scratch=$2 borg=${3:-borg}
case $root:$scratch in /*:/*) ;; *) refuse E_SETUP "ROOT and SCRATCH are absolute" ;; esac
# Only these characters, so that the one unquoted use below splits at spaces and at nothing else.
case $COMMAND in *[!A-Za-z0-9\ -]*) refuse "a character that no command of ours has" ;; esac
[ ${#COMMAND} -le 200 ] || refuse "too long"
# shellcheck disable=SC2086 # the one place where it is split
set -- $COMMAND
case ${1-}:$# in
serve:2 | serve:3) parent=$root name=$2 need=${3-} ;;
compact:2 | compact:3) parent=$root name=$2 need=${3-} ;;
read:3 | read:4) parent=$scratch/$2 name=$3 need=${4-} && is_run "$2" ;;
*) false ;;
esac || refuse "neither serve NAME nor read RUN NAME nor compact NAME"
verb=$1
case $need in '' | require) ;; *) refuse "neither serve NAME nor read RUN NAME nor compact NAME" ;; esac
is_name "$name" || refuse "not a repository name"
# A missing or unmounted dataset must not become a new repository on the disk below it.
if [ ! -d "$parent/$name" ] || [ -L "$parent/$name" ]; then refuse E_NO_DIRECTORY "$parent/$name is not a directory"; fi
# The client's URL is ./NAME, so that it is the same in ROOT and in a clone.
cd "$parent" || refuse E_NO_DIRECTORY "cannot enter $parent"
wall=${WALL-} own=${OWN-} memory=${LIMIT-4194304}
unset COMMAND OLDPWD WALL OWN LIMIT
# borg serve needs no directory of its own besides the repository, and gets none. Its self-test would want one, takes
# 55 ms of every start, and tests chunker and ciphers, which only the host's borg uses.
export BORG_HOST_ID="server:$name" BORG_BASE_DIR=/nonexistent BORG_SELFTEST=disabled
# What borg parses here comes from a host that may be hostile. A repository's index took 103 bytes of memory a chunk
# (borg 1.2.4 and 1.4.5, 4 million chunks, while it grew): 4 GiB are enough for 50 TiB. LIMIT is less where the
# repository's index is small and many are at work. No backup needs a day of processor time.
limit -c 0
limit -v "$memory"
limit -t 86400
case $verb in
compact) set -- "$borg" compact --log-json --progress "$parent/$name" ;;
*) set -- "$borg" serve --append-only --restrict-to-repository "$parent/$name" ;;
esac
python=/usr/bin/python3
[ -x "$python" ] || python=/usr/local/bin/python3
if [ -e /proc/self/setgroups ] && [ -x "$python" ]; then # Linux
    [ ! "$wall" ] || exec "$python" -I -S -c "$wall" "$parent/$name" "$own" "$need" "$@"
    [ ! -f "${0%/*}/zborg-wall.py" ] ||
        exec "$python" -I -S "${0%/*}/zborg-wall.py" "$parent/$name" "$own" "$need" "$@"
fi
[ "$own" ] || [ ! "$need" ] || refuse E_NO_WALL "no wall can stand here, and wall = \"require\" asks for one"
# borg speaks on stdin, stdout and stderr alone. Where an ordinary user may have a network of its own, it gets an empty one.
network=network
! unshare --map-current-user --net true 2>/dev/null || {
    network=no-network
    set -- unshare --map-current-user --net "$@"
}
printf 'zborg-serve: wall %s %s\n' "${own:-none}" "$network" >&2
exec "$@"
