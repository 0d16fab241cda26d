#!/bin/sh
# zborg-agent: what a backed-up host lets its backup server do. docs/agent.md is its manual.
#
# sshd runs this as the forced command of one key of root's:
#     restrict,command="/usr/local/libexec/zborg-agent" ssh-ed25519 AAAA...
# Arguments come from authorized_keys or from root at a terminal and are trusted. SSH_ORIGINAL_COMMAND and
# every other variable come from the client and are not; nor is what arrives on stdin, which only borg reads.
#
#   stdin, stdout   borg's own protocol, to `borg serve` at the other end (`version`, `escrow` and `witness` print text)
#   stderr          "= TEXT" a line of borg's output; "{...}" a line of borg's log;
#                   "zborg-agent: CODE TEXT" ours; anything else is borg's, outside its log
#   exit status     2 refused, 67 it took too long, 68 a broken file of borg's security directory, 69 no room on this
#                   host, 75 another run is going on, 76 alarm, 77 a path is not there, 78 not now, 79 a hook failed,
#                   127 no borg; else borg's

sh=/bin/sh
safe_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# AcceptEnv in sshd_config lets a client set BORG_PASSCOMMAND and the like, and `restrict` does not stop it. So
# begin again with nothing but the command. That this was done is an argument: a variable could be sent.
# Only keywords, special builtins and a full path up to here: bash as sh would import functions.
case ${1-} in
--clean) shift ;;
*) case ${SSH_ORIGINAL_COMMAND+set} in
    set) exec /usr/bin/env -i PATH="$safe_path" LC_ALL=C COMMAND="$SSH_ORIGINAL_COMMAND" "$sh" "$0" --clean "$@" ;;
    *) exec /usr/bin/env -i PATH="$safe_path" LC_ALL=C "$sh" "$0" --clean "$@" ;;
    esac ;;
esac
set -f -u
umask 077
newline='
'

# The server decides by the code before the words (docs/agent.md, "Codes"). Root at a terminal gets the words alone;
# what no zborg would ask is refused without a code.
say() { # say [CODE] TEXT
    case $#${COMMAND+asked} in
    2asked) printf 'zborg-agent: %s %s\n' "$1" "$2" ;;
    *) shift $(($# - 1)) && printf 'zborg-agent: %s\n' "$1" ;;
    esac >&2
}
note() { logger -t zborg-agent -p auth.notice -- "$1" >/dev/null 2>&1 9>&- || :; }
die() { # die STATUS [CODE] TEXT
    died=$1
    shift
    say "$@"
    shift $(($# - 1))
    note "$1"
    exit "$died"
}
refuse() { case $# in 2) die 2 "$1" "refused: $2" ;; *) die 2 "refused: $1" ;; esac; } # refuse [CODE] TEXT

# --- What words may look like -------------------------------------------------------------------------------

is_name() { case $1 in '' | -* | *[!a-z0-9-]*) false ;; *) [ ${#1} -le 31 ] ;; esac; }
is_id() { case $1 in '' | -* | *[!A-Za-z0-9-]*) false ;; *) [ ${#1} -le 40 ] ;; esac; }
is_number() { case $1 in '' | *[!0-9]*) false ;; *) [ ${#1} -le 17 ] ;; esac; }
is_stamp() { case $1 in [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z) ;; *) false ;; esac; }
# A file name to back up or restore: absolute and with no way up, any other bytes but a line feed, which ends a line
# of a list. The server applies the same rule before it asks (zborg/planning/restore/paths.py).
is_path() { case $1 in / | *"$newline"* | *//* | */./* | */../* | */. | */..) false ;; /*) ;; *) false ;; esac; }
without_slash() { path=${1%/} path=${path:-/}; }
visible() { printf '%s' "$1" | tr '\001-\037\177' '?'; }
# A directory of our own: it is put unquoted into BORG_RSH and BORG_PASSCOMMAND, which borg splits as a shell would.
is_plain_path() { is_path "$1" && case $1 in *[!A-Za-z0-9._/-]*) false ;; esac; }

# --- Whose a file is ----------------------------------------------------------------------------------------

who_we_are() { # sets uid, of /proc where there is one: a process less than id(1)
    uid=''
    while read -r word _ value _; do
        case $word in Uid:) uid=$value && break ;; esac
    done </proc/self/status
    is_number "$uid" || uid=$(id -u)
} 2>/dev/null

# One find for all of them, since POSIX has no stat(1): it prints what is ours and writable by nobody else, and prints
# it again if nobody else may read it either. No path here has a line feed.
look_at() { # look_at PATH...: for was_safe
    looked=$newline$(find "$@" -prune ! -type l \( -user 0 -o -user "$uid" \) ! -perm -020 ! -perm -002 -print \
        ! -perm -040 ! -perm -004 ! -perm -010 ! -perm -001 -print 2>/dev/null)$newline
}
was_safe() { # was_safe PATH [secret]: what look_at saw of it
    case ${2-} in
    secret) case $looked in *"$newline$1$newline$1$newline"*) ;; *) false ;; esac ;;
    *) case $looked in *"$newline$1$newline"*) ;; *) false ;; esac ;;
    esac
}
is_safe() { # is_safe PATH [secret]
    look_at "$1"
    was_safe "$@"
}

own_directory() { # own_directory DIRECTORY...: made if missing, and nobody else's business
    for directory in "$@"; do [ -d "$directory" ] || mkdir -p "$directory" || die 2 E_WRITE "cannot make $directory"; done
    look_at "$@"
    for directory in "$@"; do was_safe "$directory" secret || refuse E_ACCESS "$directory must belong to root, with mode 0700"; done
}

in_path() { # in_path NAME: sets found to the program, as command -v has it, which would cost a process to be read
    IFS=:
    for folder in $PATH; do
        found=$folder/$1
        [ ! -f "$found" ] || [ ! -x "$found" ] || { unset IFS && return; }
    done
    unset IFS
    found=''
    false
}

what_time_it_is() { # sets now, in seconds since 1970, and hour, as the clock on the wall has it
    # shellcheck disable=SC2046 # two words are wanted
    set -- $(date '+%s %H')
    now=$1 hour=${2#0}
}

