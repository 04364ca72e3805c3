#!/bin/bash
# `serve` (the image's default) starts the server; anything else is evaluated as a line of shell, all words together,
# as TorchServe's image does it. A plain command takes this script's place, so that signals reach it and its exit
# code is the container's.
set -e

# Several commands. The container lives as long as they and the server that they leave behind.
run_line() {
    ending=
    code=0
    trap 'ending=yes; torchserve --stop --foreground; kill "$shell" 2> /dev/null || true' TERM INT
    (eval "$1") <&0 &
    shell=$!
    wait "$shell" || code=$?
    if [ -z "$ending" ] && [ "$code" -eq 0 ]; then
        python -c 'if 1:
            import sys
            from torchkeeper.launcher import running_server
            if (server := running_server()) is not None:
                server.wait()
                sys.exit("The server has ended.")' &
        wait $! || code=$?
    fi
    [ -n "$ending" ] && exit 0
    exit "$code"
}

line="$*"
several=$'^[A-Za-z_][A-Za-z_0-9]*=|^\\(|[;&|<>\n]'
case "$1" in
    serve | bash | sh) ;; # TorchServe's does not evaluate the one either, and who names a shell needs no other
    *)
        [[ "$line" =~ $several ]] && run_line "$line"
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
        ;;
esac
exec "$@"
