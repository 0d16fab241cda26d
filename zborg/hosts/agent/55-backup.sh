# --- Verbs of a backup --------------------------------------------------------------------------------------

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

not_now() { die 78 E_NOT_NOW "not now: $1"; }

within_hours() {
    if [ "$allowed_from" -lt "$allowed_to" ]; then
        [ "$hour" -ge "$allowed_from" ] && [ "$hour" -lt "$allowed_to" ]
    else
        [ "$hour" -ge "$allowed_from" ] || [ "$hour" -lt "$allowed_to" ]
    fi || not_now "this host allows backups from $allowed_from to $allowed_to o'clock"
}

after_interval() { # notes this start, or says that the last one is too near
    record=$state_dir/last-create last=0
    [ ! -e "$record" ] || IFS= read -r last <"$record"
    is_number "$last" || last=0
    passed=$((now - last)) # below 0 the clock was set back: who knows when that was
    if [ "$passed" -ge 0 ] && [ "$passed" -lt "$min_interval" ]; then
        not_now "this host allows a backup every $min_interval seconds, and the last one began $passed seconds ago"
    fi
    echo "$now" >"$record" || die 2 E_WRITE "cannot write $record"
}

sign_archives() { # sign_archives REPO: what a borg older than 1.2.5 renamed (CVE-2023-36811). Root allows it, once
    is_safe "$state_dir/sign-archives.allow" secret || refuse E_ACCESS "$state_dir/sign-archives.allow must belong to root, with mode 0600"
    writing upgrade --archives-tam "ssh://$1/./$1"
    is_good "$rc" || return 0
    rm -f "$state_dir/sign-archives.allow"
    die 2 E_SIGNED "archives signed: the next try makes the backup"
}

create() { # create REPO ARCHIVE [CHECKPOINT]
    [ ! -e "$state_dir/sign-archives.allow" ] || { sign_archives "$1" && return; }
    [ -n "$paths" ] || refuse E_NO_PATHS "no path in $confdir/agent.conf"
    within_hours
    after_interval
    true >"$hooks_log" # not `:`, with which sh would end where it cannot write
    true >"$warnings_log"
    archive=$2 begun=yes given=${3-}
    run_hooks before "$before" || die 79 E_HOOK "$failed_hook: nothing is backed up"
    look_at_paths
    [ -z "$links" ] || refuse E_LINK "$confdir/agent.conf names a symbolic link instead of what it points to: $links"
    url=ssh://$1/./$1::$2 canary=''
    [ "$drill" = no ] || make_canary
    set -- --progress create --json --compression "$compression"
    [ "$one_file_system" = no ] || set -- "$@" --one-file-system
    [ -z "$canary" ] || set -- "$@" "--pattern=+ pf:$canary" # whatever is excluded
    IFS=$newline # the lists hold one value to a line, and set -f leaves * alone
    for value in $excludes; do set -- "$@" "--exclude=$value"; done
    for value in $markers; do set -- "$@" "--exclude-if-present=$value"; done
    # shellcheck disable=SC2086 # to be split
    set -- "$@" "$url" -- $paths $canary
    unset IFS
    writing "$@"
    [ -z "$canary" ] || ! is_good "$rc" || take_sample "$archive"
    case $absent:$rc in
    :*) ;;
    *:[01] | *:1[0-2][0-9]) die 77 E_PATH_MISSING "the rest is backed up, but $confdir/agent.conf names what is not there: $absent" ;;
    esac
}

sample() { # sample REPO ARCHIVE: a first archive, which proves the whole way, of the file that is there for sure
    [ -f "$confdir/agent.conf" ] || refuse E_NO_PATHS "no $confdir/agent.conf"
    writing create --json --compression "$compression" "ssh://$1/./$1::$2" -- "$confdir/agent.conf"
}

prune() { # prune REPO: append-only at the other end, so that what is deleted here can be had back there
    [ -n "$retention" ] || refuse E_KEEPS_ALL "no keep_... in $confdir/agent.conf: this host prunes nothing"
    within_hours
    # shellcheck disable=SC2086 # options of digits and letters
    writing prune --glob-archives "$1-*" $retention "ssh://$1/./$1"
}

break_borg_lock() { # break-lock REPO: of the repository, and of the cache here
    ! borg_runs || die 75 E_BUSY "busy: borg runs on this host: its lock is not broken"
    tunnel --log-json --lock-wait "$lock_wait" break-lock "ssh://$1/./$1"
    only_ours "$base"
}

list() { # list REPO N
    freshly list --last "$2" --json "ssh://$1/./$1"
}

