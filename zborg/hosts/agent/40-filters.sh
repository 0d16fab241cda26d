# --- What the server gets to see ----------------------------------------------------------------------------
#
# With report_paths = no, no file name leaves in what borg prints. Both filters pass on what they know to be
# harmless and withhold the rest. In JSON every quote inside a name is escaped, so an unescaped `, "key": `
# cannot come from a name. The exception: an error that ends a run is sent in full, the reason must arrive.

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
    [ "$noted" -eq 0 ] || say N_WARNINGS "warnings are in $warnings_log"
    [ "$withheld" -eq 0 ] || say N_WITHHELD "$withheld log lines withheld (report_paths = no)"
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

