"""The flags of `torchkeeper manifest`, and what it prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from torchkeeper.errors import SettingsError
from torchkeeper.manifest import Values, as_yaml, kserve_objects, kubernetes_objects


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The options are Values' attributes, and so are their defaults."""
    manifest = verbs.add_parser("manifest", help="print the objects that run a server on Kubernetes, as YAML")
    platforms = manifest.add_subparsers(dest="platform", required=True, metavar="PLATFORM")
    kserve = platforms.add_parser(
        "kserve", help="a ClusterServingRuntime and an InferenceService", allow_abbrev=False
    )
    k8s = platforms.add_parser(
        "k8s", help="a Deployment with Service, autoscaler and disruption budget", allow_abbrev=False
    )
    for parser in (kserve, k8s):
        parser.add_argument("name", metavar="NAME", help="name of the service")
        parser.add_argument("--image", required=True, help="image with torchkeeper, as of docker/Dockerfile")
        parser.add_argument(
            "--storage-uri",
            required=True,
            metavar="URI",
            help="folder with config/config.properties and model-store/: pvc://claim/path, s3://...",
        )
        _add_optional(parser, "--namespace", "NAME", "default: the one that kubectl is set to")
        _add_optional(parser, "--protocol", "NAME", "what port 80 speaks: v1, v2 or grpc-v2; default: v2")
        _add_optional(parser, "--min-replicas", "N", "default: 1", int)
        _add_optional(parser, "--max-replicas", "N", "default: 4", int)
        _add_optional(parser, "--target-cpu", "PERCENT", "load at which replicas are added; default: 70", int)
        _add_optional(parser, "--cpu", "N", "processors of each replica; default: 1")
        _add_optional(parser, "--memory", "BYTES", "memory of each replica; default: 2Gi")
        _add_optional(parser, "--drain-delay", "SECONDS", "as in config.properties; default: 0", int)
        _add_optional(parser, "--drain-timeout", "SECONDS", "as in config.properties; default: 30", int)
        _add_optional(parser, "--service-account", "NAME", "account that may fetch the models")
    _add_optional(kserve, "--runtime", "NAME", "name of the ClusterServingRuntime; default: torchkeeper")
    _add_optional(k8s, "--storage-secret", "NAME", "Secret with the variables that fetching needs")
    _add_optional(k8s, "--downloader", "IMAGE", "image that fetches the models; default: KServe's")


def _add_optional(
    parser: argparse.ArgumentParser, flag: str, metavar: str, text: str, kind: Callable[[str], object] = str
) -> None:
    parser.add_argument(flag, metavar=metavar, help=text, type=kind, default=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    given = {key: value for key, value in vars(arguments).items() if key not in ("verb", "platform")}
    make = {"kserve": kserve_objects, "k8s": kubernetes_objects}[arguments.platform]
    try:
        objects = make(Values(**given))
    except SettingsError as error:
        print(f"torchkeeper manifest {arguments.platform}: error: {error.message}", file=sys.stderr)
        return 2
    print(as_yaml(objects), end="")
    return 0
