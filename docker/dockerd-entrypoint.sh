#!/bin/bash
# `serve` (the image's default) starts the server; anything else is evaluated as a line of shell, all words together,
# as TorchServe's image does it. The server takes this script's place, so that signals reach it and its exit code is
# the container's. The container lives as long as any other command and the server that it leaves behind.
set -e

# What a command is sent by `docker stop`: the server that it has started is stopped in order, then it is told itself.
stop() {
    ending=yes
    torchserve --stop --foreground || true
    kill "$child" 2> /dev/null || true
}

run() {
    ending=
    code=0
    trap stop TERM INT
    "$@" <&0 &
    child=$!
    wait "$child" || code=$?
    if [ -n "$ending" ]; then
        code=0
        wait "$child" || code=$?
        # a line that is cut short fails as it happens
        [[ "$1" = eval || "$code" -eq 143 ]] && exit 0
    elif [ "$code" -eq 0 ]; then
        python -c 'if 1:
            import sys
            from torchkeeper.launcher import running_server
            if (server := running_server()) is not None:
                server.wait()
                sys.exit("The server has ended.")' &
        child=$!
        wait "$child" || code=$?
        [ -n "$ending" ] && exit 0
    fi
    exit "$code"
}

line="$*"
several=$'^[A-Za-z_][A-Za-z_0-9]*=|^\\(|[;&|<>\n]'
case "$1" in
    serve | bash | sh | /bin/bash | /bin/sh) ;; # TorchServe's does not evaluate the one, who names a shell needs no other
    *)
        [[ "$line" =~ $several ]] && run eval "$line"
        eval "set -- $line"
        ;;
esac

case "$1" in
    serve)
        shift
        exec torchserve --start --foreground --ts-config "$HOME/config.properties" --disable-token-auth "$@"
        ;;
    torchserve)
        # A server that detaches would end the container. TorchServe's image keeps it by waiting for ever;
        # here the server stays in the foreground.
        case " $* " in
            *" --stop "* | *" --version "* | *" -v "* | *" --help "* | *" -h "* | *" --foreground "*) ;;
            *) set -- "$@" --foreground ;;
        esac
        exec "$@"
        ;;
esac
# Who sits at a terminal needs the command itself there.
[ -t 0 ] && exec "$@"
run "$@"
