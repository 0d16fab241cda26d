# --- Start --------------------------------------------------------------------------------------------------

borg_pid='' watch_pid='' relay_in='' relay_out='' session='' fresh='' linked='' destination='' missed=no limit='' suspect=''
lending='' given='' read_output=filter_output read_log=filter_log output_rc=0 filter_out='' hook_pid='' begun='' archive='' status=0
trap clean EXIT
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 141' PIPE
trap 'stop 143' TERM

confdir=/etc/zborg
case ${1-} in /*) confdir=$1 && shift ;; esac
who_we_are
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
