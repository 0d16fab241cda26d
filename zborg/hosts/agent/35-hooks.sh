# --- Hooks: root's commands around a backup -------------------------------------------------------------------
#
# They get nothing of the tunnel, and what they print stays here: it may hold names.

run_hook() { # run_hook WHICH COMMAND: sets hook_rc, and took to the seconds
    own_group=$(command -v setsid) || own_group='' # so that what it started ends with it
    home=~root took=$(date +%s)
    (
        trap - HUP INT TERM PIPE
        exec 9>&- 7<&- 3<&- 4>&- </dev/null >>"$hooks_log" 2>&1
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
        say E_HOOK "$failed_hook" && note "$failed_hook"
        is_good "$status" && status=79
    }
    is_good "$status" || run_hooks on_error "$on_error" || { say E_HOOK "$failed_hook" && note "$failed_hook"; }
}

is_good() { case $1 in 0 | 1 | 10[0-9] | 11[0-9] | 12[0-6]) ;; *) false ;; esac; } # borg's warnings are

