# --- agent.conf ---------------------------------------------------------------------------------------------

trim() { trimmed=${1#"${1%%[! ]*}"} trimmed=${trimmed%"${trimmed##*[! ]}"}; }
wrong() { refuse E_CONF "$confdir/agent.conf line $number: $1"; }
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

set_key() { # the value of one line into its variable; lists have one value on a line
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
    drill) yes_no && drill=$value ;;
    drill_bytes) whole && drill_bytes=$value ;;
    drill_files) case $value in [1-9] | [1-9][0-9] | [1-9][0-9][0-9] | 1000) drill_files=$value ;; *) wrong "drill_files is 1 to 1000" ;; esac ;;
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

without_marks() { # editors of other systems begin a file with a mark and end each line with a carriage return
    if [ "$number" -eq 1 ]; then
        case $line in "$(printf '\377\376')"* | "$(printf '\376\377')"*) wrong "the file is UTF-16: save it as UTF-8" ;; esac
        line=${line#"$(printf '\357\273\277')"}
    fi
    [ -n "$carriage_return" ] || carriage_return=$(printf '\r')
    line=${line%"$carriage_return"}
}

read_config() { # read, never sourced: a value is text, whatever it holds
    name='' paths='' path_lines='' excludes='' markers='' compression=lz4 one_file_system=no report_paths=no restore=no borg=''
    restore_max_bytes=107374182400 restore_free_floor='' lock_wait=1 connector=auto state_dir=/var/lib/zborg
    run_dir=/run/zborg retention='' before='' after='' on_error='' hook_timeout=3600 min_interval=0 gently=''
    allowed_from=0 allowed_to=24 max_time=86400 drill=no drill_bytes=268435456 drill_files=300
    [ -d /run ] || run_dir=/var/run/zborg # FreeBSD
    passphrase_safe=no
    if [ -e "$confdir" ]; then
        look_at "$confdir" "$confdir/agent.conf" "$confdir/passphrase"
        was_safe "$confdir" || refuse E_ACCESS "$confdir must belong to root and be writable by nobody else"
        ! was_safe "$confdir/passphrase" secret || passphrase_safe=yes
    fi
    [ -e "$confdir/agent.conf" ] || return 0
    was_safe "$confdir/agent.conf" || refuse E_ACCESS "$confdir/agent.conf must belong to root and be writable by nobody else"
    number=0 carriage_return='' # errors name the line and do not show it: the server reads them, and it may hold a path
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $number:$line in 1:[!\ -~]* | *[[:cntrl:]]) without_marks ;; esac
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
    is_name "$name" || refuse E_NAME "this host's name is not [a-z0-9-]: set name in agent.conf"
    [ -n "$borg" ] || { in_path borg && borg=$found; }
    hooks_log=$state_dir/hooks.log warnings_log=$state_dir/warnings.log base=$state_dir/borg keys=$state_dir/borg/.config/borg/keys
    # Never here: BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK, BORG_RELOCATED_..., BORG_WORKAROUNDS. borg asks,
    # stdin is /dev/null, and that means no. The passphrase is in no environment and no argument list.
    export BORG_BASE_DIR="$base" BORG_KEYS_DIR="$keys" BORG_HOST_ID="host:$name" BORG_EXIT_CODES=modern
    export BORG_SHOW_SYSINFO=no BORG_PASSCOMMAND="cat $confdir/passphrase"
}

