# --- The command line of the client -------------------------------------------------------------------------

decode() { # sets word: every byte outside [A-Za-z0-9._/=@+-] is written as \0ooo. No NUL and no line feed.
    word=$1
    case $1 in *\\*) ;; *) return ;; esac
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

verbs='version, init, create, sample, list, prune, break-lock, restore, lend, drill, escrow, witness'

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
    witness:1) take_place witness 2 && witness && return ;;
    init:2 | create:[34] | sample:3 | drill:3 | list:3 | prune:2 | break-lock:2 | lend:2) ;;
    restore:[6-9] | restore:[1-9][0-9] | restore:1[0-9][0-9] | restore:200) ;;
    *) refuse "no such verb, or not with $(($# - 1)) arguments; verbs are $verbs" ;;
    esac
    shift
    is_name "$1" || refuse "not a repository name"
    [ "$1" = "$name" ] || refuse "this host is called $name"
    case $verb in
    create | sample | restore | drill) case $2 in "$1"-*) is_stamp "${2#"$1"-}" ;; *) false ;; esac || refuse "an archive is REPO-YYYY-MM-DDTHHMMSSZ" ;;
    list) case $2 in [1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;; *) refuse "N is 1 to 999" ;; esac ;;
    esac
    case $verb:$# in
    restore:*) check_restore "$@" ;;
    create:3) is_checkpoint "$3" || refuse "not a checkpoint of a ledger" ;;
    esac
    note "$verb $1 ${2-}"
    what_time_it_is
    say "clock $now" # the server compares it with its own
    own_directory "$state_dir" "$run_dir"
    # Lending takes no lock: it may last for hours, and a night's backup is not to wait for it.
    case $verb in lend) refuse_alarmed && take_place lend 1 && lend && exit 0 ;; esac
    take_lock
    case $verb in init) ;; *) keyed ;; esac
    case $verb in init | create | sample | prune) enough_room ;; esac
    case $verb in break-lock) break_borg_lock "$@" ;; *) "$verb" "$@" ;; esac
    [ -z "$limit" ] || die 67 E_TOO_LONG "$verb stopped: it took longer than $max_time seconds (max_time in $confdir/agent.conf)"
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

