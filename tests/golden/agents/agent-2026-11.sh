#!/bin/sh
# zborg-agent: what a backed-up host lets its backup server do. docs/agent.md is its manual.
#
# sshd runs this as the forced command of one key of root's:
#     restrict,command="/usr/local/libexec/zborg-agent" ssh-ed25519 AAAA...
# Arguments come from authorized_keys or from root at a terminal and are trusted. SSH_ORIGINAL_COMMAND and
# every other variable come from the client and are not; nor is what arrives on stdin, which only borg reads.
#
#   stdin, stdout   borg's own protocol, to `borg serve` at the other end (`version` and `escrow` print text)
#   stderr          "= TEXT" a line of borg's output; "{...}" a line of borg's log;
#                   "zborg-agent: TEXT" our words; anything else is borg's, outside its log
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

say() { printf 'zborg-agent: %s\n' "$1" >&2; }
note() { logger -t zborg-agent -p auth.notice -- "$1" >/dev/null 2>&1 9>&- || :; }
die() { # die STATUS TEXT
    say "$2"
    note "$2"
    exit "$1"
}
refuse() { die 2 "refused: $1"; }

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

# Ours and writable by nobody else; with "secret" not readable either. POSIX has no stat(1), but find.
is_safe() { # is_safe FILE [secret]
    [ -n "$(find "$1" -prune ! -type l \( -user 0 -o -user "$(id -u)" \) ! -perm -020 ! -perm -002 2>/dev/null)" ] || return 1
    [ "${2-}" != secret ] || [ -n "$(find "$1" -prune ! -perm -040 ! -perm -004 ! -perm -010 ! -perm -001)" ]
}

own_directory() { # made if missing, and nobody else's business
    [ -d "$1" ] || mkdir -p "$1" || die 2 "cannot make $1"
    is_safe "$1" secret || refuse "$1 must belong to root, with mode 0700"
}

# --- agent.conf ---------------------------------------------------------------------------------------------

trim() { trimmed=${1#"${1%%[! ]*}"} trimmed=${trimmed%"${trimmed##*[! ]}"}; }
wrong() { refuse "$confdir/agent.conf line $number: $1"; }
yes_no() { case $value in yes | no) ;; *) wrong "$key is yes or no" ;; esac; }
whole() { is_number "$value" || wrong "$key is a number"; }
plain() { is_plain_path "$value" || wrong "$key is an absolute path of [A-Za-z0-9._/-]"; }

# borg records its command line in the archive as UTF-8 and ends with a PackException on any other bytes (tried with
# 1.2.4 and 1.4.5). Only what is an argument of borg's has to pass; names below a path may be any bytes.
utf8() { is_utf8 "$value" || wrong "$key is not UTF-8, which borg cannot archive by name: name a directory above it"; }

is_utf8() { # as RFC 3629, section 4, has it
    case $1 in *[!\ -~]*) ;; *) return 0 ;; esac
    more=0
    for byte in $(printf '%s' "$1" | od -An -v -tu1); do
        if [ "$more" -gt 0 ]; then
            [ "$byte" -ge "$low" ] && [ "$byte" -le "$high" ] || return 1
            more=$((more - 1)) low=128 high=191
            continue
        fi
        low=128 high=191
        case $byte in
        ? | ?? | 1[01]? | 12[0-7]) ;;
        19[4-9] | 20? | 21? | 22[0-3]) more=1 ;;
        224) more=2 low=160 ;;
        237) more=2 high=159 ;;
        22[5-9] | 23?) more=2 ;;
        240) more=3 low=144 ;;
        24[123]) more=3 ;;
        244) more=3 high=143 ;;
        *) return 1 ;;
        esac
    done
    [ "$more" -eq 0 ]
}

duration() { # sets seconds
    seconds=${value%[smhd]}
    case $seconds in "$value" | 0*) false ;; *) is_number "$seconds" && [ ${#seconds} -le 6 ] ;; esac ||
        wrong "$key is a number and one of s, m, h, d"
    case $value in *m) seconds=$((seconds * 60)) ;; *h) seconds=$((seconds * 3600)) ;; *d) seconds=$((seconds * 86400)) ;; esac
}
exists() { command -v "$1" >/dev/null || wrong "there is no $1 on this host"; }
is_hour() { case $1 in [0-9] | 1[0-9] | 2[0-4]) ;; *) false ;; esac; }
hours() {
    if ! is_hour "${value%%-*}" || ! is_hour "${value#*-}" || [ "${value%%-*}" = "${value#*-}" ]; then
        wrong "allowed_hours is two hours, such as 22-6"
    fi
}

set_key() { # the value of one line into its variable; lists are kept one to a line
    case $key in
    name) is_name "$value" || wrong "name is [a-z0-9-], at most 31" && name=$value ;;
    path) [ "$value" = / ] || is_path "$value" || wrong "path is absolute, without . or .."
        utf8 && paths=$paths$value$newline path_lines="$path_lines $number" ;;
    exclude) utf8 && excludes=$excludes$value$newline ;;
    exclude_if_present) utf8 && markers=$markers$value$newline ;;
    compression) case $value in *[!a-z0-9,]*) wrong "compression is one of borg's, such as zstd,3" ;; *) compression=$value ;; esac ;;
    one_file_system) yes_no && one_file_system=$value ;;
    report_paths) yes_no && report_paths=$value ;;
    restore) yes_no && restore=$value ;;
    restore_max_bytes) whole && restore_max_bytes=$value ;;
    restore_free_floor) whole && restore_free_floor=$value ;;
    lock_wait) whole && lock_wait=$value ;;
    before) before=$before$value$newline ;;
    after) after=$after$value$newline ;;
    on_error) on_error=$on_error$value$newline ;;
    hook_timeout) duration && hook_timeout=$seconds ;;
    min_interval) duration && min_interval=$seconds ;;
    max_time) duration && max_time=$seconds ;;
    allowed_hours) hours && allowed_from=${value%-*} allowed_to=${value#*-} ;;
    nice) case $value in [0-9] | 1[0-9]) ;; *) wrong "nice is 0 to 19" ;; esac
        exists nice && gently="nice -n $value $gently" ;;
    ionice)
        case $value in idle) class='-c 3' ;; best-effort) class='-c 2 -n 7' ;;
        *) wrong "ionice is idle or best-effort" ;; esac
        exists ionice && gently="$gently ionice $class" ;;
    keep_last | keep_hourly | keep_daily | keep_weekly | keep_monthly | keep_yearly)
        case $value in 0*) false ;; *) is_number "$value" ;; esac || wrong "$key is a number, 1 or more"
        retention="$retention --keep-${key#keep_}=$value" ;;
    keep_within)
        case ${value%[Hdwmy]} in "$value" | 0*) false ;; *) is_number "${value%[Hdwmy]}" ;; esac ||
            wrong "keep_within is a number and one of H, d, w, m, y"
        retention="$retention --keep-within=$value" ;;
    borg) plain && borg=$value ;;
    state_dir) plain && state_dir=$value ;;
    run_dir) plain && run_dir=$value ;;
    connector) case $value in auto | python | cat) connector=$value ;; *) wrong "connector is auto, python or cat" ;; esac ;;
    *) wrong "unknown key" ;;
    esac
}

read_config() { # read, never sourced: a value is text, whatever it holds
    name='' paths='' path_lines='' excludes='' markers='' compression=lz4 one_file_system=no report_paths=no restore=no borg=''
    restore_max_bytes=107374182400 restore_free_floor='' lock_wait=1 connector=auto state_dir=/var/lib/zborg
    run_dir=/run/zborg retention='' before='' after='' on_error='' hook_timeout=3600 min_interval=0 gently=''
    allowed_from=0 allowed_to=24 max_time=86400
    [ -d /run ] || run_dir=/var/run/zborg # FreeBSD
    if [ -e "$confdir" ]; then is_safe "$confdir" || refuse "$confdir must belong to root and be writable by nobody else"; fi
    [ -e "$confdir/agent.conf" ] || return 0
    is_safe "$confdir/agent.conf" || refuse "$confdir/agent.conf must belong to root and be writable by nobody else"
    number=0 # errors name the line and do not show it: the server reads them, and it may hold a path
    byte_order_mark=$(printf '\357\273\277') utf16_le=$(printf '\377\376') utf16_be=$(printf '\376\377')
    carriage_return=$(printf '\r')
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        # Editors of other systems begin a file with a mark and end each line with a carriage return.
        case $number:$line in 1:"$utf16_le"* | 1:"$utf16_be"*) wrong "the file is UTF-16: save it as UTF-8" ;; 1:*) line=${line#"$byte_order_mark"} ;; esac
        line=${line%"$carriage_return"}
        trim "$line"
        case $trimmed in '' | '#'*) continue ;; *[[:cntrl:]]*) wrong "a control character" ;; *=*) ;;
        *) wrong "not key = value" ;; esac
        line=$trimmed
        trim "${line%%=*}" && key=$trimmed
        trim "${line#*=}" && value=$trimmed
        [ -n "$value" ] || wrong "no value"
        set_key
    done <"$confdir/agent.conf"
}

defaults_and_environment() {
    [ -n "$name" ] || name=$(hostname -s 2>/dev/null | tr '[:upper:]' '[:lower:]')
    is_name "$name" || refuse "this host's name is not [a-z0-9-]: set name in agent.conf"
    [ -n "$borg" ] || borg=$(command -v borg) || borg=''
    hooks_log=$state_dir/hooks.log warnings_log=$state_dir/warnings.log base=$state_dir/borg keys=$state_dir/borg/.config/borg/keys
    # Never here: BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK, BORG_RELOCATED_..., BORG_WORKAROUNDS. borg asks,
    # stdin is /dev/null, and that means no. The passphrase is in no environment and no argument list.
    export BORG_BASE_DIR="$base" BORG_KEYS_DIR="$keys" BORG_HOST_ID="host:$name" BORG_EXIT_CODES=modern
    export BORG_SHOW_SYSINFO=no BORG_PASSCOMMAND="cat $confdir/passphrase"
}

# --- One run at a time --------------------------------------------------------------------------------------

busy() { die 75 "busy: pid $1 is at work on this host"; }

take_lock() { # children get 9>&-: a lock that borg or a relay inherits would outlive us
    own_directory "$run_dir"
    if command -v flock >/dev/null; then
        exec 9>>"$run_dir/lock"
        flock -n 9 || busy "$(cat "$run_dir/lock")"
        echo $$ >"$run_dir/lock"
    else
        hold_link lock.pid || busy "$(readlink "$run_dir/lock.pid")"
    fi
    clear_leftovers
}

# The verbs that take no lock are few at once, too: each costs the memory of an sshd session and of a shell. The
# kernel frees a place when who holds it ends, however it ends.
take_place() { # take_place CLASS COUNT
    own_directory "$run_dir"
    nth=0
    while [ "$nth" -lt "$2" ]; do
        nth=$((nth + 1))
        if command -v flock >/dev/null; then
            exec 8>>"$run_dir/place.$1.$nth"
            ! flock -n 8 || return 0
        else
            ! hold_link "place.$1.$nth.pid" || return 0
        fi
    done
    die 75 "busy: $2 sessions with $1 are at work on this host, and no more are let in"
}

is_agent() { # whether process $1 runs this script: a dead one's number may be another's now
    kill -0 "$1" 2>/dev/null || return 1
    lines=$(ps -A -o pid= -o args= 2>/dev/null) || return 0
    lines=$(printf '%s\n' "$lines" | grep "^ *$1 ")
    case $lines in '' | *" $0 "*) ;; *) false ;; esac
}

hold_link() { # hold_link NAME: without flock(1). A symbolic link to nowhere holds our pid from its first moment
    owner=$(readlink "$run_dir/$1") && ! is_agent "$owner" && take_over "$1" "$owner"
    ln -s $$ "$run_dir/$1" 2>/dev/null || return 1
    linked="$linked $1"
}

take_over() { # of two that come for a dead pid's lock, one may catch the other's new one: then give it back
    mv "$run_dir/$1" "$run_dir/broken.$$" 2>/dev/null || return 0
    caught=$(readlink "$run_dir/broken.$$")
    [ "$caught" = "$2" ] || ln -s "$caught" "$run_dir/$1" || :
    rm -f "$run_dir/broken.$$"
}

clear_leftovers() { # of runs that were killed
    set +f
    let_go "$run_dir"/session.*/*
    rm -rf "$run_dir"/session.* "$run_dir"/base.*
    set -f
}

let_go() { # a relay may still be waiting to open its FIFO. Opened once for both, it goes on, and finds the end.
    for left in "$@"; do [ ! -p "$left" ] || (: <>"$left") 2>/dev/null || :; done
}

is_borg() { # is_borg WORD...: borg's command line; not that of `borg serve`, which is a storage's side
    case $1 in '{'*'}') shift ;; esac # busybox's ps puts a script's name before the interpreter's
    own=${borg:-borg} own=${own##*/} # root may have given it another name
    case ${1##*/} in python* | pypy*) depth=4 ;; *) depth=1 ;; esac
    while [ $# -gt 0 ] && [ "$depth" -gt 0 ]; do
        case ${1##*/}:${2-} in "$own":serve | borg:serve) return 1 ;; esac
        case ${1##*/} in "$own" | borg | borg[-_0-9]* | borgbackup* | borgfs | borgmatic) return 0 ;; esac
        shift
        depth=$((depth - 1))
    done
    return 1
}

borg_runs() { # on this host, anybody's and however started; where ps cannot tell, one may
    lines=$(ps -A -o args= 2>/dev/null) || return 0
    IFS=$newline
    for line in $lines; do
        unset IFS
        # shellcheck disable=SC2086 # words are wanted
        ! is_borg $line || return 0
    done
    unset IFS
    return 1
}

# --- Room -----------------------------------------------------------------------------------------------------

floor=64              # KiB, below which nothing can be relied on
everything=9999999999 # KiB, more than there is

# size, used and left of each, as df has them (-k KiB, -i inodes), or "?"; the names around them may hold blanks
figures() { # figures FLAG DIRECTORY...
    df -P "$@" 2>/dev/null |
        sed -n '1d; s/^.* \([0-9][0-9]*  *[0-9][0-9]*  *-\{0,1\}[0-9][0-9]*\)  *[0-9][0-9]*% .*$/\1/; t show
            s/.*/?/; : show
            p'
}

short_of_room() { # short_of_room CACHE_KIB KIB [DIRECTORY]: says which of borg's directories have less left; fails if none has
    cache_kib=$1 other_kib=$2 short='' seen=''
    shift 2
    set -- "$state_dir" "$run_dir" "$@"
    [ ! -d "$base/.cache/borg" ] || set -- "$base/.cache/borg" "$@"
    blocks=$(figures -k "$@")$newline nodes=$(figures -i "$@")$newline
    for place in "$@"; do
        kib=${blocks%%"$newline"*} inodes=${nodes%%"$newline"*}
        blocks=${blocks#*"$newline"} nodes=${nodes#*"$newline"}
        case $seen in *"<$kib|$inodes>"*) continue ;; *) seen="$seen<$kib|$inodes>" ;; esac # on one disk with another
        case $inodes in '0 '*) inodes='?' ;; esac # a file system that has no fixed number of them
        kib=${kib##* } inodes=${inodes##* }
        case $place in "$base"/*) wanted=$cache_kib ;; *) wanted=$other_kib ;; esac
        case $kib in -*) kib=0 ;; '' | *[!0-9]*) continue ;; esac
        if [ "$inodes" = 0 ]; then
            say "no room: no inode left in $place"
        elif [ "$kib" -lt "$wanted" ]; then
            say "no room: $kib KiB left in $place"
        else
            continue
        fi
        short=yes
    done
    [ -n "$short" ]
}

enough_room() { # before borg starts: it copies its index of the repository before it changes it
    size=$(du -sk "$base/.cache/borg/${id-}" 2>/dev/null)
    size=${size%%[!0-9]*}
    ! short_of_room "$((${size:-0} / 2 + floor))" "$floor" || die 69 "no room on this host: borg was not started"
}

# --- The tunnel: borg here, `borg serve` at the other end of our stdin and stdout ----------------------------
#
#   ssh -> stdin -> relay -> FIFO down -> relay in rsh -> borg
#   borg -> relay in rsh -> FIFO up -> relay -> stdout -> ssh
#
# FIFOs, because borg closes every descriptor it inherits. borg runs rsh (BORG_RSH) as if it were ssh.

# One direction, 0 to 1, until 0 ends. Pipes of 1 MiB and splice (no copy) are what makes this faster than cat.
# splice exists from Python 3.10 on Linux and refuses some files (EINVAL, 22): then read and write.
# shellcheck disable=SC2016 # Python, not sh: nothing is to be expanded
python_relay='import fcntl, os
for fd in 0, 1:
    try: fcntl.fcntl(fd, 1031, 1 << 20)  # F_SETPIPE_SZ
    except OSError: pass
try:
    try:
        while os.splice(0, 1, 1 << 20): pass
    except (AttributeError, OSError) as no:
        if getattr(no, "errno", 22) != 22: raise
        while True:
            data = memoryview(os.read(0, 1 << 20))
            if not data: break
            while data: data = data[os.write(1, data):]
except OSError: pass'

choose_relay() { # sets relay, a command line that goes into rsh too; the code holds no single quote
    relay='cat'
    python=$(command -v python3) || python=''
    case $connector:$python in
    cat:* | auto:) return ;;
    python:) die 127 "connector = python, but there is no python3" ;;
    esac
    if "$python" -I -S -c 'import fcntl' >/dev/null 2>&1; then relay='python'; fi
}

relay() { case $relay in python) exec "$python" -I -S -c "$python_relay" ;; *) exec cat ;; esac; }

write_rsh() { # once both FIFOs are open the directory has served: nothing is left behind even by kill -9
    case $relay in python) copy="$python -I -S -c '$python_relay'" ;; *) copy='cat' ;; esac
    cat >"$session/rsh.new" <<RSH
exec 5<$session/down 6>$session/up
rm -rf $session
$copy <&5 5<&- 6>&- &
exec $copy >&6 5<&- 6>&-
RSH
    mv "$session/rsh.new" "$session/rsh" # whole, for who waits for it (see lend)
}

tunnel() { # tunnel BORG-ARGUMENT...: sets rc; missed=yes if a path to restore was not there; suspect, see filter_log
    [ -x "$borg" ] || die 127 "borg is not installed here (or set borg in agent.conf)"
    is_safe "$confdir/passphrase" secret || refuse "$confdir/passphrase must be there, belong to root, and have mode 0600"
    choose_relay
    trouble=''
    session=$(mktemp -d "$run_dir/session.XXXXXX") || die 2 "cannot make a directory in $run_dir"
    mkfifo "$session/down" "$session/up" "$session/out" "$session/log" || die 2 "cannot make a FIFO in $run_dir"
    write_rsh
    export BORG_RSH="$sh $session/rsh"
    # sh gives background jobs /dev/null as stdin, so duplicate it first. Each FIFO is opened once on either
    # side by a process of its own, so no order of opening can lock. We keep no end of the stream: an end that
    # we held would never be seen to end. `exec` closes and opens, because with redirections at a function's call
    # dash keeps copies of the old descriptors, and the lock was held by a relay that waited in open() (tried).
    exec 3<&0 4>&1 </dev/null >&2
    (exec 9>&- 4>&- <&3 3<&- && exec >"$session/down" && relay) &
    relay_in=$!
    (exec 9>&- 3<&- >&4 4>&- && exec <"$session/up" && relay) &
    relay_out=$!
    exec 3<&- 4>&-
    (exec 9>&- <"$session/out" && filter_output) &
    filter_out=$!
    (trap '' PIPE && exec 9>&- <"$session/log" && filter_log) &
    filter_err=$!
    # shellcheck disable=SC2086 # gently is nothing, or a command line
    (exec 9>&- >"$session/out" 2>"$session/log" && cd "${destination:-/}" && exec $gently "$borg" "$@") </dev/null &
    borg_pid=$!
    killed_before=$(oom_kills)
    if [ -n "$destination" ]; then
        (exec 9>&- >/dev/null 2>&1 && watch_limits) &
        watch_pid=$!
    else
        (exec 9>&- >/dev/null 2>&1 && watch_time) &
        watch_pid=$!
    fi
    wait "$borg_pid"
    rc=$?
    borg_pid=''
    close_tunnel
}

close_tunnel() { # after borg
    trap '' PIPE # from here on: a server that hangs up in time must not keep us from an alarm
    # borg may have ended before it ran rsh: the relays then wait in open(), for ever, unless killed.
    # KILL, because a child of sh that was only just made may lose any other signal (seen with dash).
    kill -9 "$relay_in" "$relay_out" 2>/dev/null
    [ -z "$watch_pid" ] || kill "$watch_pid" 2>/dev/null
    wait "$relay_in" "$relay_out" 2>/dev/null # or sh writes "Terminated"
    relay_in='' relay_out=''
    wait "$filter_out"
    wait "$filter_err"
    case $? in 1) missed=yes ;; 2) suspect=$older ;; 3) suspect=$foreign ;; 4) trouble=room ;; 5) trouble=cache ;; 6) trouble=known ;; esac
    if [ -n "$watch_pid" ]; then
        wait "$watch_pid" 2>/dev/null
        [ $? -ne 1 ] || limit=passed
        watch_pid=''
    fi
    say "borg ended with $rc"
    case $rc:$(oom_kills) in 137:"$killed_before") ;; 137:*) say "the kernel ended processes for lack of memory meanwhile" ;; esac
    case $trouble in
    room) short_of_room "$floor" "$floor" /tmp || # a quota that df does not show, or room again meanwhile
        short_of_room "$everything" "$everything" /tmp ;;
    '') is_good "$rc" || short_of_room "$floor" "$floor" /tmp ;; # borg cannot even start without its temporary files
    esac
}

stop_without_room() { [ "${trouble-}" != room ] || is_good "${rc:-0}" || die 69 "no room on this host"; }

oom_kills() { # how often the kernel has ended a process for lack of memory, since it started (Linux)
    while read -r word value; do
        case $word in oom_kill) printf '%s' "$value" && return ;; esac
    done </proc/vmstat
} 2>/dev/null

end_borg() { # end_borg PID: politely, and after 3 s not so
    kill "$1" 2>/dev/null || return 0
    (
        exec 9>&- >/dev/null 2>&1
        trap 'kill "$nap"; exit' TERM
        sleep 3 &
        nap=$!
        wait "$nap"
        kill -9 "$1"
    ) &
    killer=$!
    wait "$1"
    kill "$killer" 2>/dev/null
}

stop() { # stop STATUS: a signal came
    trap '' HUP INT TERM PIPE
    [ -z "$borg_pid" ] || end_borg "$borg_pid"
    [ -z "$hook_pid" ] || end_hook
    exit "$1"
}

clean() { # at every exit
    status=$?
    trap '' HUP INT TERM PIPE
    # shellcheck disable=SC2086 # pids, or nothing
    kill -9 $relay_in $relay_out $watch_pid 2>/dev/null
    [ -z "$session" ] || rm -rf "$session"
    [ -z "$fresh" ] || rm -rf "$fresh"
    [ -z "$begun" ] || finish_hooks
    for link in $linked; do rm -f "$run_dir/$link"; done
    exit "$status"
}

# --- Hooks: root's commands around a backup -------------------------------------------------------------------
#
# They get nothing of the tunnel, and what they print stays here: it may hold names.

run_hook() { # run_hook WHICH COMMAND: sets hook_rc, and took to the seconds
    own_group=$(command -v setsid) || own_group='' # so that what it started ends with it
    home=~root took=$(date +%s)
    (
        trap - HUP INT TERM PIPE
        exec 9>&- </dev/null >>"$hooks_log" 2>&1
        exec $own_group timeout -k 5 "$hook_timeout" /usr/bin/env -i PATH="$safe_path" LC_ALL=C HOME="$home" \
            ZBORG_HOOK="$1" ZBORG_ARCHIVE="$archive" ZBORG_STATUS="$status" "$sh" -c "$2"
    ) &
    hook_pid=$!
    wait "$hook_pid"
    hook_rc=$?
    took=$(($(date +%s) - took))
    [ "$took" -lt "$hook_timeout" ] || signal_hook KILL # not every timeout(1) ends grandchildren
    hook_pid=''
}

end_hook() { # with all that it started, where it has a group of its own
    signal_hook TERM || return 0
    sleep 1
    signal_hook KILL || :
}

signal_hook() { kill -s "$1" -- "-$hook_pid" 2>/dev/null || kill -s "$1" "$hook_pid" 2>/dev/null; }

run_hooks() { # run_hooks WHICH COMMANDS: in turn; fails with the first that does, and sets failed_hook
    count=0
    IFS=$newline
    for command in $2; do
        unset IFS
        count=$((count + 1))
        run_hook "$1" "$command"
        [ "$hook_rc" -eq 0 ] || { hook_failed "$1" && return 1; }
    done
    unset IFS
}

hook_failed() {
    failed_hook="hook $1 number $count failed with $hook_rc"
    [ "$took" -lt "$hook_timeout" ] || failed_hook="hook $1 number $count was stopped after $hook_timeout seconds"
    [ "$report_paths" = no ] || tail -n 5 "$hooks_log" | tail -c 4000 | tr -d '\001-\011\013-\037\177' | sed 's/^/hook: /' >&2
}

finish_hooks() { # at the end of a create, however it came: what `before` stopped must start again
    trap 'end_hook' INT TERM
    run_hooks after "$after" || {
        say "$failed_hook" && note "$failed_hook"
        is_good "$status" && status=79
    }
    is_good "$status" || run_hooks on_error "$on_error" || { say "$failed_hook" && note "$failed_hook"; }
}

is_good() { case $1 in 0 | 1 | 10[0-9] | 11[0-9] | 12[0-6]) ;; *) false ;; esac; } # borg's warnings are

# --- What the server is told --------------------------------------------------------------------------------
#
# With report_paths = no, no file name leaves in what borg prints. Both filters pass on what they know to be
# harmless and withhold the rest. In JSON every quote inside a name is escaped, so an unescaped `, "key": `
# cannot come from a name. The exception: an error that ends a run is told in full, the reason must arrive.

is_time() { case $1 in '' | *[!0-9.]*) false ;; esac; }
is_words() { case $1 in *[!A-Za-z0-9_.,:\"\}\ -]*) false ;; esac; } # the plain keys and values at a line's end

without_names() { # sets shown to the line $1 without file names, or to nothing
    shown=''
    case $1 in
    '{"type": "log_message", "time": '*)
        head=${1%%', "message": '*} tail=${1##*', "levelname": '}
        case $tail in '"ERROR"'* | '"CRITICAL"'*) shown=$1 && return ;; esac
        is_time "${head#'{"type": "log_message", "time": '}" && is_words "$tail" && shown="$head, \"levelname\": $tail" ;;
    *', "type": "archive_progress", "finished": false}')
        head=${1%%', "path": '*} tail=${1##*', "time": '}
        is_time "${tail%%,*}" || return
        case $head in *': "'* | *[!a-z0-9_:,\"\{\ ]*) return ;; *) shown="$head, \"time\": $tail" ;; esac ;;
    '{"time": '*', "type": "archive_progress", "finished": true}') is_words "${1#\{}" && shown=$1 ;;
    *', "type": "progress_'*)
        tail=${1##*'"operation": '} current=${1##*', "current": '} total=${1##*', "total": '}
        current=${current%%,*} total=${total%%,*}
        is_words "$tail" || return
        shown="{\"operation\": $tail"
        if is_number "$current" && is_number "$total"; then shown="{\"current\": $current, \"total\": $total, ${shown#\{}"; fi ;;
    '{'*) ;;
    *) shown=$1 ;; # not JSON: borg or Python failed before there was a log, and says why
    esac
}

older='the server showed an older state of the repository than this host has written'
foreign="the server showed a repository that is not this host's, or not as this host left it"

# borg 1.2 has no msgid for its warnings. With one they can be counted, also where their text is withheld.
with_msgid() { # sets line
    case $line in
    *', "levelname": "WARNING", "name": "borg.archiver"}') ;;
    *) return ;;
    esac
    case $line in
    *': file changed while we backed it up", '*) kind=FileChangedWarning ;;
    *': [Errno 2] '*) kind=BackupFileNotFoundError ;;
    *': [Errno 1] '* | *': [Errno 13] '*) kind=BackupPermissionError ;;
    *': [Errno 5] '*) kind=BackupIOError ;;
    *': [Errno '*) kind=BackupOSError ;;
    *) return ;;
    esac
    line="${line%\}}, \"msgid\": \"$kind\"}"
}

# What is wrong with this host itself. `borg serve` sends its errors through borg's log too: those are the storage's.
at_home() { # sets result, unless it is set: 4 no room here, 5 a file of borg's cache is broken, 6 borg has another reason
    case $result:$line in
    [06]:*', "levelname": "ERROR"'* | [06]:*', "levelname": "CRITICAL"'*) result=6 ;;
    *) return ;;
    esac
    case $line in
    *'remote.py\", line '*', in serve'* | *'"message": "Borg server'*) ;;
    *'[Errno 28]'* | *'[Errno 122]'*) result=4 ;; # ENOSPC, EDQUOT
    *'/cache.py\", line '*', in load\n'* | *'/cache.py\", line '*', in _do_open\n'*) result=5 ;;
    *'/cache.py\", line '*"$base/.cache/borg/"*) result=5 ;; # a traceback that ends at a file of it (borg #1501)
    *'"File failed integrity check: '"$base/.cache/borg/"*) result=5 ;;
    esac
}

note_warning() { # for root: what the server must not read stays here
    case $verb:$line in create:*', "levelname": "WARNING"'*) ;; *) return ;; esac
    noted=$((noted + 1))
    [ "$noted" -gt 1000 ] || printf '%s\n' "$line" >>"$warnings_log"
} 2>/dev/null

filter_log() { # one write per line; status 1: a path to restore was not found, 2: see older, 3: see foreign, 4, 5: see at_home
    withheld=0 noted=0 result=0
    while IFS= read -r line || [ -n "$line" ]; do
        with_msgid
        note_warning
        at_home
        case $line in *', "msgid": "IncludePatternNeverMatchedWarning"}' | *', "message": "Include pattern '*) result=1 ;;
        *', "msgid": "Cache.RepositoryReplay"'*) result=2 ;;
        *', "msgid": "Cache.EncryptionMethodMismatch"'* | *', "msgid": "Cache.CacheInitAbortedError"'*) result=3 ;;
        *', "msgid": "Cache.RepositoryAccessAborted"'* | *', "msgid": "Cache.RepositoryIDNotUnique"'*) result=3 ;;
        *', "msgid": "KeyfileNotFoundError"'* | *', "msgid": "KeyfileMismatchError"'*) result=3 ;;
        *', "msgid": "RepoKeyNotFoundError"'* | *', "msgid": "TAM'*) result=3 ;;
        esac
        if [ "$report_paths" = yes ]; then shown=$line; else without_names "$line"; fi
        if [ -n "$shown" ]; then printf '%s\n' "$shown" >&2; else withheld=$((withheld + 1)); fi
    done
    [ "$noted" -eq 0 ] || say "warnings are in $warnings_log"
    [ "$withheld" -eq 0 ] || say "$withheld log lines withheld (report_paths = no)"
    return "$result"
}

shown_value() { # one line `"key": value` of JSON; strings under other keys than these become ""
    value=${2#\""$1"\": }
    case $value in
    '{' | '[' | '{},' | '[],' | '{}' | '[]' | true* | false* | null* | [0-9-]*) shown=$2 ;;
    *) case $1:$value in
        id:* | name:* | archive:* | barchive:* | start:* | end:* | time:* | last_modified:* | mode:* | location:*) shown=$2 ;;
        *:*\",) shown="\"$1\": \"\"," ;;
        *) shown="\"$1\": \"\"" ;;
        esac ;;
    esac
}

filter_output() { # borg's --json, one key or element a line. Strings in lists (its command line) are left out.
    while IFS= read -r line || [ -n "$line" ]; do
        trim "$line"
        key=${trimmed#\"} key=${key%%\"*} shown=''
        case $report_paths:$trimmed in
        yes:*) shown=$line ;;
        no:'{' | no:'}' | no:'},' | no:'[' | no:']' | no:'],') shown=$trimmed ;;
        no:\""$key"\"': '*) case $key in *[!a-z_]*) ;; *) shown_value "$key" "$trimmed" ;; esac ;;
        esac
        [ -z "$shown" ] || printf '= %s\n' "$shown" >&2
    done
}

# --- Keys and the repository they belong to -----------------------------------------------------------------

alarm() {
    [ -e "$state_dir/alarm" ] || printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >"$state_dir/alarm"
    die 76 "ALARM: $1. Nothing more will run here until root has looked into it and removed $state_dir/alarm"
}

ids_under() { # the repositories that the base directory $1 has spoken with, one to a line
    set +f
    for entry in "$1"/.config/borg/security/*; do [ ! -e "$entry" ] || printf '%s\n' "${entry##*/}"; done
    set -f
}

refuse_alarmed() { [ ! -e "$state_dir/alarm" ] || die 76 "ALARM since $(cat "$state_dir/alarm"): refused until root removes $state_dir/alarm"; }

no_key='the key file of this repository is gone: put its safe copy back'

own_key() { # prints the key file of this host's repository; there may be others, of earlier ones
    set +f
    for key in "$keys"/*; do
        read -r line <"$key" && case $line in "BORG_KEY $id") set -f && cat "$key" && return ;; esac
    done 2>/dev/null
    set -f
    false
}

only_ours() { # a server that shows an unencrypted or another repository must not get a second chance
    for seen in $(ids_under "$1"); do
        [ "$seen" = "$id" ] || alarm "the server showed another repository ($seen) than this host's ($id)"
    done
}

keyed() { # before a verb that uses the key
    refuse_alarmed
    [ -f "$state_dir/repository-id" ] || refuse "this host has no repository yet: init comes first"
    must_match "$state_dir/repository-id" '[0-9a-f]\{64\}'
    id=$(cat "$state_dir/repository-id")
    only_ours "$base"
    own_key >/dev/null || refuse "$no_key" # or borg's word that it has none could not be told from the server's trick
}

must_match() { # must_match FILE PATTERN: nothing here mends what protects against a server that shows an older state
    [ ! -f "$1" ] || LC_ALL=C grep -q -x "$2" "$1" || die 68 "broken: $1"
}

look_at_memory() { # what a power cut leaves empty here would pass for a trick of the server's
    memory=$base/.config/borg/security/$id
    must_match "$memory/nonce" '[0-9a-f]\{16\}'
    must_match "$memory/key-type" '[0-9]\{1,3\}'
    must_match "$memory/location" '[[:print:]]\{1,\}'
    must_match "$memory/manifest-timestamp" '[0-9T:.+-]\{19,\}'
}

set_cache_aside() { # borg makes it anew. What protects against an older state lies in security/, and is whole
    cache=$base/.cache/borg/$id
    [ -e "$cache" ] || return 0
    rm -rf "$cache.broken"
    mv "$cache" "$cache.broken" || return 0
    say "cache set aside: $cache.broken"
    forgive_start
}

forgive_start() { # the next try is to be allowed: this one did nothing. Once within min_interval, whatever the server shows
    [ -n "${record-}" ] && [ "$verb" = create ] || return 0
    forgiven=$(cat "$state_dir/last-forgiven" 2>/dev/null)
    is_number "$forgiven" || forgiven=0
    [ $((now - forgiven)) -lt "$min_interval" ] || { echo "$now" >"$state_dir/last-forgiven" && echo "$last" >"$record"; }
}

writing() { # to this host's repository as it was left. Without its memory borg would trust whatever it is shown
    [ -d "$base/.config/borg/security/$id" ] || alarm "borg's memory of the repository is gone: $base/.config/borg/security/$id"
    look_at_memory
    tunnel --log-json --lock-wait "$lock_wait" "$@"
    only_ours "$base"
    case $suspect:$rc in :64) suspect=$older ;; :4[24] | :6[0-3]) suspect=$foreign ;; esac
    [ -z "$suspect" ] || alarm "$suspect"
    [ "$trouble" != cache ] || is_good "$rc" || set_cache_aside
}

freshly() { # read without borg's memory: an older state of the repository may be read, though never written to
    fresh=$(mktemp -d "$run_dir/base.XXXXXX") || die 2 "cannot make a directory in $run_dir"
    BORG_BASE_DIR=$fresh
    tunnel --log-json --lock-wait "$lock_wait" "$@"
    only_ours "$fresh"
    only_ours "$base"
}

# --- Verbs --------------------------------------------------------------------------------------------------

version() {
    found=$("$borg" --version </dev/null 2>/dev/null) || found='borg missing'
    printf '%s\n' "agent 1" "name $name" "$found" "clock $(date +%s)" "restore $restore"
    [ -e "$state_dir/repository-id" ] && echo "initialised yes" || echo "initialised no"
    [ -e "$state_dir/alarm" ] && echo "alarm yes" || echo "alarm no"
    borg_runs && echo "borg_runs yes" || echo "borg_runs no"
    [ -n "$retention" ] && echo "prune yes" || echo "prune no"
    find_custodians && echo "escrow yes" || echo "escrow no"
    [ -n "$paths" ] && echo "paths yes" || echo "paths no"
    is_safe "$confdir/passphrase" secret && echo "passphrase yes" || echo "passphrase no"
    look_at_paths
    printf '%s\n' "conf $confdir/agent.conf" "absent ${absent:-none}" "links ${links:-none}"
    [ -n "$before" ] && echo "before yes" || echo "before no"
    shell=$(sed -n 's/^[^:]*:[^:]*:0:.*:\(\/[^:]*\)$/\1/p' /etc/passwd 2>/dev/null | sed 1q)
    is_plain_path "$shell" && echo "shell $shell" || echo "shell unknown"
    [ ! -e "$state_dir/repository-id" ] || key_state
}

key_state() { # what the repository's key depends on; hosts without a repository print none of it
    id=$(cat "$state_dir/repository-id")
    opens=unknown
    if own_key >/dev/null; then echo "key yes" && try_key; else echo "key no"; fi
    [ -d "$base/.config/borg/security/$id" ] && echo "memory yes" || echo "memory no"
    echo "opens $opens"
}

# Whether the passphrase opens the key is asked of borg itself, here and without the server: in a repository of
# nothing but this id and a first object that no key fits. borg opens the key to check it, and then says so.
try_key() { # sets opens to yes, no or unknown. Tried with borg 1.2.4 and 1.4.5. Nothing of it stays.
    if [ ! -x "$borg" ] || ! is_safe "$confdir/passphrase" secret; then return; fi
    fresh=$(mktemp -d /tmp/zborg.XXXXXX) && mkdir -p "$fresh/repository/data/0" || return
    printf '[repository]\nversion = 1\nsegments_per_dir = 1000\nmax_segment_size = 524288000\nappend_only = 0\nid = %s\n' \
        "$id" >"$fresh/repository/config"
    # A segment as borg writes it: a PUT of the manifest (type 4, keyfile-blake2, then zeros), and a COMMIT.
    zeros='\0\0\0\0\0\0\0\0' zeros=$zeros$zeros$zeros$zeros
    printf "BORG_SEG\\004\\236\\241\\377Y\\0\\0\\0\\0$zeros\\004$zeros\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0@\\364<%%\\t\\0\\0\\0\\002" \
        >"$fresh/repository/data/0/0"
    told=$(BORG_BASE_DIR=$fresh timeout -k 2 15 "$borg" --log-json --bypass-lock list "$fresh/repository" 2>&1 </dev/null) || :
    case $told in *'"PassphraseWrong"'*) opens=no ;; *'MAC Authentication failed'*) opens=yes ;; esac
    rm -rf "$fresh"
    fresh=''
}

init() { # init REPO
    record=$state_dir/repository-id
    refuse_alarmed
    [ ! -e "$record" ] || refuse "this host has a repository; a second init needs root on this host: remove $record"
    # An init that broke off, or root's removal of the record, leaves ids behind. Their keys are kept.
    [ -z "$(ids_under "$base")" ] || mv "$base/.config/borg/security" "$base/.config/borg/security.before.$(date +%s).$$"
    tunnel --log-json --lock-wait "$lock_wait" init -e keyfile-blake2 "ssh://$1/./$1"
    stop_without_room
    [ "$rc" -eq 0 ] || exit "$rc"
    id=$(ids_under "$base")
    case $id in '' | *[!0-9a-f]*) alarm "init left no single repository id" ;; esac
    if ! printf '%s\n' "$id" >"$record.new" || ! mv "$record.new" "$record"; then die 2 "cannot write $record"; fi
}

look_at_paths() { # sets absent and links to the lines of agent.conf that name what is not there, or a symbolic link
    absent='' links=''
    # shellcheck disable=SC2086 # to be split
    set -- $path_lines
    IFS=$newline
    for value in $paths; do
        where="line $1" && shift
        [ "$report_paths" = no ] || where="$where ($value)" # else its name stays here
        # borg would archive the link and not what it points to, without a word.
        if [ -L "${value%/}" ]; then links="$links, $where"; elif [ ! -e "$value" ]; then absent="$absent, $where"; fi
    done
    unset IFS
    absent=${absent#, } links=${links#, }
}

not_now() { die 78 "not now: $1"; }

within_hours() {
    hour=$(date +%H) hour=${hour#0}
    if [ "$allowed_from" -lt "$allowed_to" ]; then
        [ "$hour" -ge "$allowed_from" ] && [ "$hour" -lt "$allowed_to" ]
    else
        [ "$hour" -ge "$allowed_from" ] || [ "$hour" -lt "$allowed_to" ]
    fi || not_now "this host allows backups from $allowed_from to $allowed_to o'clock"
}

after_interval() { # notes this start, or says that the last one is too near
    record=$state_dir/last-create now=$(date +%s) last=0
    [ ! -e "$record" ] || last=$(cat "$record")
    is_number "$last" || last=0
    passed=$((now - last)) # below 0 the clock was set back: who knows when that was
    if [ "$passed" -ge 0 ] && [ "$passed" -lt "$min_interval" ]; then
        not_now "this host allows a backup every $min_interval seconds, and the last one began $passed seconds ago"
    fi
    echo "$now" >"$record" || die 2 "cannot write $record"
}

sign_archives() { # sign_archives REPO: what a borg older than 1.2.5 renamed (CVE-2023-36811). Root allows it, once
    is_safe "$state_dir/sign-archives.allow" secret || refuse "$state_dir/sign-archives.allow must belong to root, with mode 0600"
    writing upgrade --archives-tam "ssh://$1/./$1"
    is_good "$rc" || return 0
    rm -f "$state_dir/sign-archives.allow"
    die 2 "archives signed: the next try makes the backup"
}

create() { # create REPO ARCHIVE
    [ ! -e "$state_dir/sign-archives.allow" ] || { sign_archives "$1" && return; }
    [ -n "$paths" ] || refuse "no path in $confdir/agent.conf"
    within_hours
    after_interval
    true >"$hooks_log" # not `:`, with which sh would end where it cannot write
    true >"$warnings_log"
    archive=$2 begun=yes
    run_hooks before "$before" || die 79 "$failed_hook: nothing is backed up"
    look_at_paths
    [ -z "$links" ] || refuse "$confdir/agent.conf names a symbolic link instead of what it points to: $links"
    url=ssh://$1/./$1::$2
    set -- --progress create --json --compression "$compression"
    [ "$one_file_system" = no ] || set -- "$@" --one-file-system
    IFS=$newline # the lists hold one value to a line, and set -f leaves * alone
    for value in $excludes; do set -- "$@" "--exclude=$value"; done
    for value in $markers; do set -- "$@" "--exclude-if-present=$value"; done
    # shellcheck disable=SC2086 # to be split
    set -- "$@" "$url" -- $paths
    unset IFS
    writing "$@"
    case $absent:$rc in
    :*) ;;
    *:[01] | *:1[0-2][0-9]) die 77 "the rest is backed up, but $confdir/agent.conf names what is not there: $absent" ;;
    esac
}

sample() { # sample REPO ARCHIVE: a first archive, which proves the whole way, of the file that is there for sure
    [ -f "$confdir/agent.conf" ] || refuse "no $confdir/agent.conf"
    writing create --json --compression "$compression" "ssh://$1/./$1::$2" -- "$confdir/agent.conf"
}

prune() { # prune REPO: append-only at the other end, so that what is deleted here can be had back there
    [ -n "$retention" ] || refuse "no keep_... in $confdir/agent.conf: this host prunes nothing"
    within_hours
    # shellcheck disable=SC2086 # options of digits and letters
    writing prune --glob-archives "$1-*" $retention "ssh://$1/./$1"
}

break_borg_lock() { # break-lock REPO: of the repository, and of the cache here
    ! borg_runs || die 75 "busy: borg runs on this host: its lock is not broken"
    tunnel --log-json --lock-wait "$lock_wait" break-lock "ssh://$1/./$1"
    only_ours "$base"
}

list() { # list REPO N
    freshly list --last "$2" --json "ssh://$1/./$1"
}

permit() { # permit ID SNAPSHOT PATH...: sets cap, or refuses. A permission serves once.
    allow=$state_dir/restore.allow used=$state_dir/restore.used.$1 cap=$restore_max_bytes wanted=$2
    shift 2
    if [ ! -e "$allow" ]; then
        [ "$restore" = yes ] || refuse "restore is off on this host; root here may allow one with zborg-agent --allow-restore"
        return
    fi
    is_safe "$allow" secret || refuse "$allow must belong to root, with mode 0600"
    allowed_snapshot='' allowed_paths=$newline cap=''
    while IFS= read -r line; do
        case $line in
        'snapshot = '*) allowed_snapshot=${line#*= } ;;
        'path = '*) without_slash "${line#*= }" && allowed_paths=$allowed_paths$path$newline ;;
        'max_bytes = '*) cap=${line#*= } ;;
        *) refuse "$allow: unknown line" ;;
        esac
    done <"$allow"
    is_number "$cap" || refuse "$allow: max_bytes"
    [ "$wanted" = "$allowed_snapshot" ] || refuse "root allowed a restore from another snapshot"
    for path in "$@"; do
        without_slash "$path"
        case $allowed_paths in *"$newline$path$newline"*) ;; *) refuse "root did not allow this path: $(visible "$path")" ;; esac
    done
    mv "$allow" "$used" || refuse "cannot use up $allow"
}

passed_limit() { # fails while all is well; figures that cannot be had count as passed
    in_use=$(du -sk "$destination" 2>/dev/null)
    in_use=${in_use%%[!0-9]*}
    # shellcheck disable=SC2046 # three words are wanted
    set -- $(figures -k "$destination")
    is_number "$in_use" && is_number "${1-}" && is_number "${3-}" || return 0
    floor=$(($1 / 20))
    [ "$floor" -gt 1048576 ] || floor=1048576
    [ -z "$restore_free_floor" ] || floor=$((restore_free_floor / 1024))
    [ "$in_use" -gt $((cap / 1024)) ] || [ "$3" -lt "$floor" ]
}

# A server that takes in no byte would keep borg, and what `before` stopped, for ever.
watch_time() { # in the background beside borg; status 1 when it had to end borg
    nap='' took=0 pause=1 # short at first: a child that was only just made may lose the signal to end (seen with dash)
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    while [ "$took" -lt "$max_time" ]; do
        [ $((took + pause)) -le "$max_time" ] || pause=$((max_time - took))
        sleep "$pause" &
        nap=$!
        wait "$nap"
        nap='' took=$((took + pause)) pause=5
        kill -0 $$ && kill -0 "$borg_pid" || exit 0 # the agent was killed, and borg with it
    done
    trap '' TERM # to finish this, and to tell
    kill "$borg_pid"
    sleep 3
    kill -9 "$borg_pid"
    exit 1
}

# borg writes 100 MiB and more a second: near its cap a restore is looked at all the time, else once in a second.
near=262144 # KiB
watch_limits() { # in the background beside borg; status 1 when it had to end borg
    nap='' in_use=0 before_that=0
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    while :; do
        left=$((cap / 1024 - in_use))
        if [ "$left" -gt "$near" ] && [ "$left" -gt $((4 * (in_use - before_that))) ]; then
            sleep 1 &
            nap=$!
            wait "$nap"
            nap=''
        fi
        before_that=$in_use
        kill -0 "$borg_pid" || exit 0 # the agent was killed, and borg with it
        if passed_limit; then
            trap '' TERM # to finish this, and to tell
            kill "$borg_pid"
            exit 1
        fi
    done
}

remove_restored() { # sets removed to what became of the destination; what stays is reported as a line of JSON, too
    removed='what was extracted is removed' mounted=false
    case $(mount 2>/dev/null) in
    *" on $destination"[/\ ]*) mounted=true ;; # rm would empty that file system
    *) rm -rf "$destination" 2>/dev/null ;;
    esac
    [ -e "$destination" ] || return 0
    files=$(find "$destination" -xdev ! -type d -exec printf '%.0s.' {} + | wc -c)
    in_use=$(du -skx "$destination" 2>/dev/null)
    in_use=${in_use%%[!0-9]*}
    removed="not all of what was extracted could be removed, look at $destination"
    printf '= {"left": "%s", "files": %d, "bytes": %d, "mounted": %s}\n' "$destination" "$files" \
        $((${in_use:-0} * 1024)) "$mounted" >&2
}

restore() { # restore REPO ARCHIVE ID SNAPSHOT PATH...
    destination=$state_dir/restore/$3 place=ssh://$1/./$1::$2
    own_directory "$state_dir/restore"
    if [ -e "$destination" ] || [ -e "$state_dir/restore.used.$3" ]; then refuse "restore $3 has been there before"; fi
    shift 2
    permit "$@"
    shift 2
    mkdir "$destination" || die 2 "cannot make $destination"
    for path in "$@"; do # pp: a plain prefix. Without it borg would take re:... or sh:... for a pattern.
        shift
        set -- "$@" "pp:${path#/}"
    done
    limit=''
    if passed_limit; then limit=passed; else freshly --progress extract --sparse "$place" -- "$@"; fi
    if [ -n "$limit" ] || passed_limit; then
        remove_restored
        die 2 "restore stopped: over $cap bytes, or too little free space; $removed"
    fi
    [ "$missed" = no ] || die 101 "restore failed: a path is not in the archive; see $destination"
    case $rc in 0 | 1 | 1[0-2][0-9]) ;; *) die "$rc" "restore failed; what was extracted is in $destination" ;; esac
    files=$(find "$destination" -type f -exec printf '%.0s.' {} + | wc -c)
    printf '= {"restored": "%s", "files": %d, "bytes": %d}\n' "$destination" "$files" $((in_use * 1024)) >&2
}

# --- Lending: the tunnel for a borg that root here runs by hand ---------------------------------------------

lend() { # lend REPO: one connection to what the server serves; root's borg takes it, whenever that comes
    own_directory "$run_dir"
    choose_relay
    lender=$(cat "$run_dir/lend/pid" 2>/dev/null) && is_agent "$lender" && busy "$lender"
    set +f
    let_go "$run_dir"/lend/* # of one that was killed
    set -f
    rm -rf "$run_dir/lend"
    session=$run_dir/lend
    if ! mkdir "$session" || ! echo $$ >"$session/pid"; then die 2 "cannot make a directory in $run_dir"; fi
    mkfifo "$session/down" "$session/up" || die 2 "cannot make a FIFO in $run_dir"
    write_rsh
    exec 3<&0 4>&1 </dev/null >/dev/null # as in tunnel
    # Opened for both directions a FIFO does not wait for borg, so it is noticed when the server goes away. All else
    # follows from that end: borg's own end reaches the server, which ends its `borg serve`, and with it our stdin.
    # sshd passes the end of our output on only once nobody holds stderr either, hence /dev/null.
    (exec 8>&- 4>&- <&3 3<&- 1<>"$session/down" 2>/dev/null && relay) &
    relay_in=$!
    (exec 8>&- 3<&- >&4 4>&- 2>/dev/null && exec <"$session/up" && relay) &
    relay_out=$!
    exec 3<&- 4>&- 2>/dev/null
    wait "$relay_in"
    relay_in=''
}

refuse_borg() { # borg drops what we say if our stdout ends before it has read it
    say "refused: $1"
    note "refused: $1"
    sleep 1
    exit 2
}

refuse_to_write() { # refuse_to_write PID: the borg that asks for a connection. Its first word that is a command decides.
    lines=$(ps -A -o pid= -o args= 2>/dev/null) || return 0
    lines=$(printf '%s\n' "$lines" | grep "^ *$1 ")
    for word in $lines; do
        case $word in
        create | delete | prune | rename | recreate | compact | import-tar | init | upgrade)
            refuse_borg "borg $word: what is lent is a copy of an older state, for reading; it goes with all that is written to it" ;;
        list | info | extract | mount | diff | export-tar | check | key | debug | with-lock | break-lock) return ;;
        esac
    done
}

lent() { # borg's BORG_RSH: after each command the server lends again, a moment later
    refuse_to_write "$PPID"
    tries=0
    while [ ! -e "$run_dir/lend/rsh" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 8 ] || refuse_borg "nothing is lent here; on the backup server: zborg restore serve $name"
        sleep 1
    done
    exec "$sh" "$run_dir/lend/rsh"
}

borg_env() { # what root's shell has to know; for reading only, so borg remembers nothing of it
    own_directory "$state_dir"
    rm -rf "$state_dir/by-hand"
    own_directory "$state_dir/by-hand"
    case $confdir in /etc/zborg) rsh="$0 --lent" ;; *) rsh="$0 $confdir --lent" ;; esac
    printf "export %s='%s'\n" BORG_REPO "ssh://$name/./$name" BORG_RSH "$rsh" BORG_BASE_DIR "$state_dir/by-hand" \
        BORG_KEYS_DIR "$keys" BORG_PASSCOMMAND "$BORG_PASSCOMMAND"
}

# --- The command line of the client -------------------------------------------------------------------------

decode() { # sets word: every byte outside [A-Za-z0-9._/=@+-] is written as \0ooo. No NUL and no line feed.
    left=$1
    while :; do
        case $left in *\\*) left=${left#*\\} ;; *) break ;; esac
        case $left in
        0000* | 0012*) refuse "a NUL or a line feed in the command" ;;
        0[0-3][0-7][0-7]*) ;;
        *) refuse "a backslash in the command that is no \\0ooo" ;;
        esac
    done
    word=$(printf '%b' "$1")
}

verbs='version, init, create, sample, list, prune, break-lock, restore, lend, escrow'

serve_command() { # serve_command WORD...: only what matches here is ever run
    [ "$#" -le 200 ] || refuse "more than 200 words"
    for word in "$@"; do
        shift
        decode "$word"
        set -- "$@" "$word"
    done
    verb=${1-}
    case $verb:$# in
    version:1) take_place version 4 && version && return ;;
    escrow:1) take_place escrow 2 && refuse_alarmed && seal && note "$verb" && return ;;
    init:2 | create:3 | sample:3 | list:3 | prune:2 | break-lock:2 | lend:2) ;;
    restore:[6-9] | restore:[1-9][0-9] | restore:1[0-9][0-9] | restore:200) ;;
    *) refuse "no such verb, or not with $(($# - 1)) arguments; verbs are $verbs" ;;
    esac
    shift
    is_name "$1" || refuse "not a repository name"
    [ "$1" = "$name" ] || refuse "this host is called $name"
    case $verb in
    create | sample | restore) case $2 in "$1"-*) is_stamp "${2#"$1"-}" ;; *) false ;; esac || refuse "an archive is REPO-YYYY-MM-DDTHHMMSSZ" ;;
    list) case $2 in [1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;; *) refuse "N is 1 to 999" ;; esac ;;
    esac
    case $verb in restore) check_restore "$@" ;; esac
    note "$verb $1 ${2-}"
    say "clock $(date +%s)" # the server compares it with its own
    own_directory "$state_dir"
    # Lending takes no lock: it may last for hours, and a night's backup is not to wait for it.
    case $verb in lend) refuse_alarmed && take_place lend 1 && lend && exit 0 ;; esac
    take_lock
    case $verb in init) ;; *) keyed ;; esac
    case $verb in init | create | sample | prune) enough_room ;; esac
    case $verb in break-lock) break_borg_lock "$@" ;; *) "$verb" "$@" ;; esac
    [ -z "$limit" ] || die 67 "$verb stopped: it took longer than $max_time seconds (max_time in $confdir/agent.conf)"
    stop_without_room
    exit "${rc:-0}"
}

path_rule='a path is absolute, not / itself, and without //, /./, /../ and line feeds'

check_restore() {
    is_id "$3" || refuse "not an id for a restore"
    case $4 in zborg_*) is_stamp "${4#zborg_}" ;; *) false ;; esac || refuse "a snapshot is zborg_YYYY-MM-DDTHHMMSSZ"
    shift 4
    for path in "$@"; do is_path "$path" || refuse "$path_rule"; done
}

# --- For root at a terminal ---------------------------------------------------------------------------------

setup() { # setup NAME: makes what is missing and corrects modes, and replaces nothing that a key depends on
    [ "$1" = "$name" ] || refuse "this host calls itself $name: write name = $1 into $confdir/agent.conf"
    for directory in "$confdir" "$state_dir" "$run_dir"; do
        [ ! -d "$directory" ] || make_private 0700 "$directory"
        own_directory "$directory"
    done
    secret=$confdir/passphrase
    if [ -s "$secret" ] || [ -L "$secret" ]; then
        make_private 0600 "$secret"
    elif has_keys; then
        refuse "$secret is gone or empty, and a new one would not open this host's key. Put its safe copy back \
(from --key-export, or what a custodian opens): type the next line, paste the passphrase, press Enter and Ctrl-D${newline}\
cat >$secret && chmod 0600 $secret"
    else
        make_passphrase
    fi
    [ ! -e "$state_dir/repository-id" ] || check_key
    echo "$name is ready: passphrase in $secret, state in $state_dir"
}

make_passphrase() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secret.new"
    [ "$(wc -c <"$secret.new")" -eq 64 ] || die 2 "no random bytes from /dev/urandom"
    mv "$secret.new" "$secret"
}

make_private() { # make_private MODE PATH: for us alone. What is not ours, or a link, is for root to look at
    ! is_safe "$2" secret || return 0
    [ -n "$(find "$2" -prune ! -type l \( -user 0 -o -user "$(id -u)" \))" ] ||
        refuse "$2 is a link or does not belong to root. Look at what it is, then${newline}chown -h root $2${newline}chmod $1 $2"
    chmod "$1" "$2" || die 2 "cannot change the mode of $2"
    say "the mode of $2 was too wide, and is now $1: until now others on this host could reach it"
}

has_keys() { # whether a passphrase that is made now would be another than the one that keys here were made with
    [ ! -e "$state_dir/repository-id" ] || return 0
    set +f
    for file in "$keys"/* "$base"/.config/borg/security/*; do [ ! -e "$file" ] || { set -f && return 0; }; done
    set -f
    false
}

check_key() { # what borg would find out by night
    id=$(cat "$state_dir/repository-id")
    own_key >/dev/null || refuse "$no_key, into $keys"
    [ -d "$base/.config/borg/security/$id" ] ||
        refuse "borg's memory of the repository is gone ($base/.config/borg/security/$id): docs/agent.md, Keys, has what to do"
    opens=unknown
    try_key
    [ "$opens" != no ] || refuse "$secret does not open the key of repository $id: put its safe copy back${newline}\
cat >$secret && chmod 0600 $secret"
}

allow_restore() { # allow_restore SNAPSHOT MAX_BYTES PATH...
    if [ $# -lt 3 ] || ! is_number "$2"; then refuse "--allow-restore SNAPSHOT MAX_BYTES PATH..."; fi
    check_restore x x x "$1" "$3"
    own_directory "$state_dir"
    snapshot=$1 bytes=$2
    shift 2
    {
        printf 'snapshot = %s\nmax_bytes = %s\n' "$snapshot" "$bytes"
        for path in "$@"; do
            is_path "$path" || refuse "$path_rule"
            without_slash "$path"
            printf 'path = %s\n' "$path"
        done
    } >"$state_dir/restore.allow.new" || exit
    mv "$state_dir/restore.allow.new" "$state_dir/restore.allow"
    echo "One restore is allowed, of no more than this:"
    tr '\001-\011\013-\037\177' '?' <"$state_dir/restore.allow"
}

allow_signing() {
    own_directory "$state_dir"
    date >"$state_dir/sign-archives.allow" || exit
    echo "The next backup signs every archive of $name that is not signed under its name."
}

key_export() {
    id=$(cat "$state_dir/repository-id" 2>/dev/null) || refuse "this host has no repository yet: init comes first"
    is_safe "$confdir/passphrase" secret || refuse "$confdir/passphrase must be there, belong to root, and have mode 0600"
    printf '%s\n' "# Key and passphrase of $name's backup, repository $id." \
        "# Who has both can read every backup; without both nobody can." \
        "# Keep this where neither this host nor the backup server can lose or read it." "# Passphrase:"
    cat "$confdir/passphrase"
    printf '\n# Key file:\n'
    own_key || refuse "$no_key"
}

# --- Escrow: key and passphrase, sealed for people whom root on this host has named --------------------------

find_custodians() { # sets recipients: age's public keys, one to a line; or fails, and sets lack to the reason
    custodians=$confdir/custodians recipients='' number=0 # root's file: a server that named them would name itself
    lack="nobody to seal for: write one age1... public key a line into $custodians"
    [ -e "$custodians" ] || return 1
    is_safe "$custodians" || { lack="$custodians must belong to root and be writable by nobody else" && return 1; }
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        trim "$line"
        case $trimmed in
        '' | '#'*) continue ;;
        age1*[!a-z0-9]*) false ;;
        age1*) recipients=$recipients$trimmed$newline ;;
        *) false ;;
        esac || { lack="$custodians line $number: not a public key of age (age1...)" && return 1; }
    done <"$custodians"
    [ -n "$recipients" ] || return 1
    lack="age is not installed here: apt-get install age (or: pkg install age, apk add age)"
    command -v age >/dev/null
}

seal() { # prints what --key-export does, sealed and armoured; in the clear it is in memory alone
    find_custodians || refuse "$lack"
    exported=$(key_export) || exit
    set --
    for recipient in $recipients; do set -- "$@" -r "$recipient"; done
    sealed=$(printf '%s\n' "$exported" | age -a "$@") || refuse "age could not seal for those in $custodians"
    printf '%s\n' "$sealed"
}

# --- Start --------------------------------------------------------------------------------------------------

borg_pid='' watch_pid='' relay_in='' relay_out='' session='' fresh='' linked='' destination='' missed=no limit='' suspect=''
hook_pid='' begun='' archive='' status=0
trap clean EXIT
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 141' PIPE
trap 'stop 143' TERM

confdir=/etc/zborg
case ${1-} in /*) confdir=$1 && shift ;; esac
is_plain_path "$confdir" || refuse "the configuration directory is an absolute path of [A-Za-z0-9._/-]"
read_config
defaults_and_environment

[ ! -e "$confdir" ] || [ -r "$confdir" ] || refuse "this is for root"
case ${COMMAND+set}:${1-}:$# in
set::0)
    case $COMMAND in
    *[!A-Za-z0-9._/=@+\\\ -]*) refuse "a character in the command that must be written as \\0ooo" ;;
    esac
    [ "${#COMMAND}" -le 16384 ] || refuse "the command is too long"
    # shellcheck disable=SC2086 # the one place where it is split; set -f keeps * and ? as they are
    serve_command $COMMAND
    ;;
:--setup:2) setup "$2" ;;
:--allow-restore:*) shift && allow_restore "$@" ;;
:--sign-archives:1) allow_signing ;;
:--key-export:1) key_export ;;
:--seal:1) seal ;;
:--borg-env:1) borg_env ;;
:--lent:*) lent ;;
*) refuse "no command. As root: --setup NAME, --allow-restore SNAPSHOT MAX_BYTES PATH..., --sign-archives, --key-export, --seal, --borg-env" ;;
esac
