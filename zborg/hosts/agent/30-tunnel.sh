# --- borg, between the stream and the filters of what it prints -----------------------------------------------

tunnel() { # tunnel BORG-ARGUMENT...: sets rc; missed=yes if a path to restore was not there; suspect, see filter_log
    [ -x "$borg" ] || die 127 E_NO_BORG "borg is not installed here (or set borg in agent.conf)"
    # Looked at already, unless a hook may have put it there since.
    [ -z "$before" ] || { passphrase_safe=no && is_safe "$confdir/passphrase" secret && passphrase_safe=yes; }
    [ "$passphrase_safe" = yes ] || refuse E_PASSPHRASE "$confdir/passphrase must be there, belong to root, and have mode 0600"
    choose_relay
    trouble=''
    session=$run_dir/session.$$ session_files=$run_dir/session.$$.log # nobody else's: we have the lock, and the directory is root's
    mkfifo "$session.log" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
    if [ "$read_output" = filter_output ]; then
        # What borg prints is one JSON document at its end: a file, to be filtered then.
        true >"$session.out" || die 2 E_WRITE "cannot write into $run_dir"
    else # what files contain, and never on a disk
        mkfifo "$session.out" || die 2 E_WRITE "cannot make a FIFO in $run_dir"
    fi
    export BORG_RSH="$sh $session.rsh"
    # sh gives background jobs /dev/null as stdin, so duplicate it first. Each FIFO is opened once on either
    # side by a process of its own, so no order of opening can lock. `exec` closes and opens, because with redirections
    # at a function's call dash keeps copies of the old descriptors, and the lock was held by a relay that waited in
    # open() (tried).
    exec 3<&0 4>&1 </dev/null >&2
    [ "$read_output" != filter_output ] || exec 7<"$session.out"
    connect
    [ "$read_output" = filter_output ] || {
        (exec 9>&- 3<&- 4>&- <"$session.out" && "$read_output") &
        filter_out=$!
    }
    (trap '' PIPE && exec 9>&- 7<&- 3<&- 4>&- <"$session.log" && "$read_log") &
    filter_err=$!
    # shellcheck disable=SC2086 # gently is nothing, or a command line
    (exec 9>&- 7<&- 3<&- 4>&- 2>"$session.log" >"$session.out" && cd "${destination:-/}" && exec $gently "$borg" "$@") </dev/null &
    borg_pid=$!
    oom_kills
    killed_before=$killed
    case $destination in '') watching=watch_time ;; *) watching=watch_limits ;; esac
    (exec 9>&- 7<&- 3<&- 4>&- >/dev/null 2>&1 && $watching) &
    watch_pid=$!
    [ -z "$given" ] || note_checkpoint "$given" # while borg starts
    wait "$borg_pid"
    rc=$?
    borg_pid=''
    exec 3<&- 4>&- # of the stream, lest `borg serve` waits for what comes now
    close_tunnel
}

close_tunnel() { # after borg
    trap '' PIPE # from here on: a server that hangs up in time must not keep us from an alarm
    [ -z "$watch_pid" ] || kill "$watch_pid" 2>/dev/null
    if [ -n "$relay_in" ]; then
        # borg may have ended before it ran rsh: the relays then wait in open(), for ever, unless killed.
        # KILL, because a child of sh that was only just made may lose any other signal (seen with dash).
        kill -9 "$relay_in" "$relay_out" 2>/dev/null
        wait "$relay_in" "$relay_out" 2>/dev/null # or sh writes "Terminated"
        relay_in='' relay_out=''
    fi
    [ -z "$filter_out" ] || {
        wait "$filter_out"
        output_rc=$?
    }
    wait "$filter_err"
    filtered=$?
    [ -n "$filter_out" ] || {
        filter_output <&7
        exec 7<&-
    }
    case $filtered in 1) missed=yes ;; 2) suspect=$older ;; 3) suspect=$foreign ;; 4) trouble=room ;; 5) trouble=cache ;; 6) trouble=known ;; esac
    if [ -n "$watch_pid" ]; then
        wait "$watch_pid" 2>/dev/null
        [ $? -ne 1 ] || limit=passed
        watch_pid=''
    fi
    say "borg ended with $rc"
    oom_kills
    case $rc:$killed in 137:"$killed_before") ;; 137:*) say N_MEMORY "the kernel ended processes for lack of memory meanwhile" ;; esac
    is_good "$rc" || [ ! -e "$state_dir/python" ] || rm -f "$state_dir/python"
    case $trouble in
    room) short_of_room "$floor" "$floor" /tmp || # a quota that df does not show, or room again meanwhile
        short_of_room "$everything" "$everything" /tmp ;;
    '') is_good "$rc" || short_of_room "$floor" "$floor" /tmp ;; # borg cannot even start without its temporary files
    esac
}

stop_without_room() { [ "${trouble-}" != room ] || is_good "${rc:-0}" || die 69 E_NO_ROOM "no room on this host"; }

oom_kills() { # sets killed: how often the kernel has ended a process because memory ran out, since it started (Linux)
    killed=''
    while read -r word value; do
        case $word in oom_kill) killed=$value && return ;; esac
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
    exec 3<&- 4>&- 7<&-
    # shellcheck disable=SC2086 # paths without blanks
    [ -z "$session" ] || [ ! -e "$session.log" ] || rm -f $session_files
    [ -z "$lending" ] || rm -rf "$lending"
    [ -z "$fresh" ] || rm -rf "$fresh"
    [ -z "$begun" ] || finish_hooks
    for link in $linked; do rm -f "$run_dir/$link"; done
    exit "$status"
}

