# --- One run at a time --------------------------------------------------------------------------------------

busy() { die 75 E_BUSY "busy: pid $1 is at work on this host"; }

take_lock() { # children get 9>&-: a lock that borg or a relay inherits would outlive us
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
    die 75 E_BUSY "busy: $2 sessions with $1 are at work on this host, and no more are let in"
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
    set -- "$run_dir"/session.* "$run_dir"/base.*
    set -f
    found=''
    for left in "$@"; do [ ! -e "$left" ] || found=yes; done
    [ -n "$found" ] || return 0
    let_go "$@"
    rm -rf "$@"
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

borg_runs() { # on this host, anybody's and however started; where ps cannot show it, one may
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

