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
    python:) die 127 E_NO_PYTHON "connector = python, but there is no python3" ;;
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
    [ -x "$borg" ] || die 127 E_NO_BORG "borg is not installed here (or set borg in agent.conf)"
    is_safe "$confdir/passphrase" secret || refuse E_PASSPHRASE "$confdir/passphrase must be there, belong to root, and have mode 0600"
    choose_relay
    trouble=''
    session=$(mktemp -d "$run_dir/session.XXXXXX") || die 2 E_WRITE "cannot make a directory in $run_dir"
    mkfifo "$session/down" "$session/up" "$session/out" "$session/log" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
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
    case $rc:$(oom_kills) in 137:"$killed_before") ;; 137:*) say N_MEMORY "the kernel ended processes for lack of memory meanwhile" ;; esac
    case $trouble in
    room) short_of_room "$floor" "$floor" /tmp || # a quota that df does not show, or room again meanwhile
        short_of_room "$everything" "$everything" /tmp ;;
    '') is_good "$rc" || short_of_room "$floor" "$floor" /tmp ;; # borg cannot even start without its temporary files
    esac
}

stop_without_room() { [ "${trouble-}" != room ] || is_good "${rc:-0}" || die 69 E_NO_ROOM "no room on this host"; }

oom_kills() { # how often the kernel has ended a process because memory ran out, since it started (Linux)
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

