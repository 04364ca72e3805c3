#!/bin/bash
# `serve` (the image's default) starts the server; anything else is run as a command. Whatever is run takes this
# script's place, so that signals reach it and its exit code is the container's.
set -e

# One argument with blanks is a whole command line, as TorchServe's image takes it.
if [ $# -eq 1 ]; then
    case "$1" in
        *[\;\&\|\<\>]*) exec bash -c "$1" ;;
        *[[:space:]]*) eval "set -- $1" ;;
    esac
fi

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
