"""The commands `torchserve` and `torchkeeper`: parse, build Settings, call, exit code.

Light until something must run: a bad flag or setting is answered before the server's modules are imported.
Source of flags, texts and exit codes: TorchServe's command line.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torchkeeper import MMS_NAMESPACE, TORCHSERVE_VERSION, TS_NAMESPACE, __version__, export
from torchkeeper.archive.startup import snapshot_models
from torchkeeper.config import sagemaker_container
from torchkeeper.config.exposure import meant_exposure
from torchkeeper.config.settings import CommandLine, Settings, load_settings, process_environ, said_of_models
from torchkeeper.config.table import KEYS
from torchkeeper.config.types import is_cloud
from torchkeeper.config.whole_flags import OWN_FLAGS, TorchServeParser, add_own_flags
from torchkeeper.errors import LaunchRefused, SettingsError
from torchkeeper.machine.signals import end_signals
from torchkeeper.manifest import command as manifest
from torchkeeper.tune import flags as tune


def torchserve_parser() -> argparse.ArgumentParser:
    """TorchServe's flags."""
    parser = TorchServeParser(
        prog="torchserve",
        description="Torchserve",
        more=OWN_FLAGS,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-v", "--version", action="store_true", help="Return TorchServe Version")
    what.add_argument("--start", action="store_true", help="Start the model-server")
    what.add_argument("--stop", action="store_true", help="Stop the model-server")
    parser.add_argument("--ts-config", type=Path, metavar="FILE", help="Configuration file for model server")
    parser.add_argument(
        "--model-store",
        type=lambda text: text if is_cloud(text) else Path(text),
        metavar="DIR",
        help="Model store location: a folder, or gs://bucket/folder or s3://bucket/folder",
    )
    parser.add_argument("--workflow-store", type=Path, metavar="DIR", help="Workflow store location")
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="Models to be loaded: 'all', archives of the model store, or name=archive pairs",
    )
    parser.add_argument(
        "--log-config",
        type=Path,
        metavar="FILE",
        help="Log4j2 configuration file (XML, read for levels), or a logging configuration for Python (YAML)",
    )
    parser.add_argument(
        "--cpp-log-config", type=Path, metavar="FILE", help="Log configuration file for cpp backend"
    )
    parser.add_argument(
        "--foreground", action="store_true", help="Run in the foreground; with --stop: wait for the end"
    )
    parser.add_argument(
        "--no-config-snapshots",
        "--ncs",
        action="store_true",
        help="Prevents to server from storing config snapshot files",
    )
    parser.add_argument(
        "--plugins-path", "--ppath", metavar="PATH", help="Plugin jars (accepted, not loaded)"
    )
    parser.add_argument(
        "--disable-token-auth", "--dt", action="store_true", help="Disable token authorization"
    )
    parser.add_argument("--enable-model-api", action="store_true", help="Enable model API")
    add_own_flags(parser)
    return parser


def torchserve(argv: Sequence[str] | None = None) -> int:
    """The `torchserve` command; returns its exit code."""
    return _torchserve(sys.argv[1:] if argv is None else argv, TS_NAMESPACE)


def _torchserve(argv: Sequence[str], mark: str) -> int:
    """`mark` becomes an argument of a detached server's process; one in the foreground has begun with it."""
    arguments = torchserve_parser().parse_args(argv)
    if arguments.foreground and not arguments.stop:
        _leave_at_signals()
    from torchkeeper import launcher

    if arguments.version:
        print(f"TorchServe Version is {TORCHSERVE_VERSION}")
        return 0
    if arguments.stop:
        return launcher.stop(wait=arguments.foreground)
    if arguments.ready_fd is None and launcher.running_server() is not None:
        print("TorchServe is already running, please use torchserve --stop to stop TorchServe.")
        return 1
    try:
        settings, warnings = checked_settings(arguments, process_environ(), Path.cwd())
    except LaunchRefused as refused:
        print(refused.message)
        return 1
    except SettingsError as error:
        print(f"Invalid configuration: {error.message}")
        return 1
    if arguments.foreground:
        with launcher.found_by_stop():
            return _serve(settings, warnings, arguments.ready_fd)
    return launcher.start_detached(  # -P: no modules of the folder where it is started
        [sys.executable, "-P", "-X", mark, "-m", "torchkeeper.cli", "--foreground", *argv]
    )


def multi_model_server(argv: Sequence[str] | None = None) -> int:
    """The `multi-model-server` command: Multi Model Server's flags; there are no keys, as there were none."""
    parser = argparse.ArgumentParser(prog="multi-model-server", description="Multi Model Server")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--start", action="store_true", help="Start the model-server")
    what.add_argument("--stop", action="store_true", help="Stop the model-server")
    parser.add_argument("--mms-config", metavar="FILE", help="Configuration file for model server")
    parser.add_argument("--model-store", metavar="DIR", help="Model store location")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="Models to be loaded")
    parser.add_argument("--log-config", metavar="FILE", help="Log4j configuration file for model server")
    parser.add_argument("--foreground", action="store_true", help="Run the model server in foreground")
    arguments = parser.parse_args(argv)
    flags = ["--stop" if arguments.stop else "--start", "--disable-token-auth", "--enable-model-api"]
    if arguments.foreground:
        flags.append("--foreground")
    for flag, value in (
        ("--ts-config", arguments.mms_config),
        ("--model-store", arguments.model_store),
        ("--log-config", arguments.log_config),
    ):
        if value is not None:
            flags += [flag, value]
    if arguments.models:
        flags += ["--models", *arguments.models]
    return _torchserve(flags, MMS_NAMESPACE)


def start() -> None:
    """The `torchserve` command, as `ts.model_server.start`: returns where it succeeds, else leaves."""
    code = torchserve(sys.argv[1:])
    if code:
        sys.exit(code)


def _leave_at_signals() -> None:
    """Ends quietly, with exit code 0, as long as there is nothing to stop.

    By default SIGTERM is ignored by the first process of a container, and SIGINT prints where it struck.
    """
    for number in end_signals():
        signal.signal(number, lambda number, frame: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, end_signals())


def checked_settings(
    arguments: argparse.Namespace, environ: Mapping[str, str], cwd: Path, root: Path = Path("/")
) -> tuple[Settings, tuple[str, ...]]:
    """The settings, after the checks that TorchServe's launcher makes, in its order and words.

    `root` is where the machine's own files tell whether it is a container.

    Raises:
        LaunchRefused, SettingsError: something named is missing or wrong.
    """
    if arguments.log_config is not None and not arguments.log_config.is_file():
        raise LaunchRefused(f"--log-config file not found: {arguments.log_config.absolute()}")
    command_line = CommandLine(
        ts_config=arguments.ts_config,
        model_store=arguments.model_store,
        workflow_store=arguments.workflow_store,
        models=None if arguments.models is None else tuple(arguments.models),
        disable_token_auth=arguments.disable_token_auth,
        insecure=arguments.insecure,
        enable_model_api=arguments.enable_model_api,
        no_config_snapshots=arguments.no_config_snapshots,
        plugins_path=arguments.plugins_path,
        cpp_log_config=arguments.cpp_log_config,
        log_config=arguments.log_config,
        log_level=arguments.log_level,
        sandbox=arguments.sandbox,
        kserve=arguments.kserve,
        model_configs=tuple(arguments.model_config),
    )
    settings, warnings = load_settings(command_line, environ, cwd)
    if settings.store_url is None and not settings.store.is_dir():
        raise LaunchRefused(f"--model-store directory not found: {settings.store}")
    snapshot_models(settings)
    return settings, (*warnings, *meant_exposure(settings, environ, root))


def _serve(settings: Settings, warnings: tuple[str, ...], ready_fd: int | None) -> int:
    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)  # whoever waits there waits for this process alone
    from torchkeeper import server
    from torchkeeper.logs import logs as log

    if settings.log_dict is not None:
        try:
            log.configure_python_logging(settings.log_dict)
        except SettingsError as error:
            print(f"Invalid configuration: {error.message}")
            return 1

    def ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"1")
            os.close(ready_fd)

    return server.run(settings, warnings, ready, process_environ())


def torchkeeper(argv: Sequence[str] | None = None) -> int:
    """The `torchkeeper` command: what TorchServe does not have; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="torchkeeper", description="What TorchServe's own commands do not have."
    )
    parser.add_argument("--version", action="version", version=f"torchkeeper {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    config = verbs.add_parser("config", help="print the settings that would hold")
    config.add_argument("--ts-config", type=Path, metavar="FILE", help="configuration file")
    config.add_argument("--show-origin", action="store_true", help="say where each value comes from")
    doctor = verbs.add_parser(
        "doctor", help="say what becomes of a TorchServe set-up; exit code 1 if something would not run"
    )
    doctor.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="what to look at: a Dockerfile, KServe's YAML, an archive, KServe's, SageMaker's or Vertex AI's "
        "folder; default: the configuration that torchserve would take",
    )
    doctor.add_argument("--ts-config", type=Path, metavar="FILE", help="config.properties or a snapshot")
    doctor.add_argument("--model-store", type=Path, metavar="DIR", help="folder of archives")
    inspect = verbs.add_parser(
        "inspect",
        help="print what is in an archive: signature, manifest, files, digests, imports, pickled names",
    )
    inspect.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .mar or .tar.gz file, or a folder")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.add_argument(
        "--public-key", type=Path, metavar="FILE", help="PEM file of who must have signed it"
    )
    export.add_to(verbs)
    manifest.add_to(verbs)
    tune.add_to(verbs)
    sagemaker = verbs.add_parser("sagemaker", help="serve as a SageMaker container, by SageMaker's variables")
    sagemaker.add_argument("--print", action="store_true", help="print the configuration and serve nothing")
    arguments = parser.parse_args(argv)
    verb = {
        "config": _config,
        "doctor": _doctor,
        "export": _export,
        "inspect": _inspect,
        "manifest": manifest.run,
        "sagemaker": _sagemaker,
        "tune": _tune,
    }
    return verb[arguments.verb](arguments)


def _sagemaker(arguments: argparse.Namespace) -> int:
    """Serves as SageMaker's toolkit would have TorchServe serve, in the foreground."""
    environ = process_environ()
    try:
        lines = sagemaker_container.text(sagemaker_container.properties(environ))
    except SettingsError as error:
        print(f"Invalid configuration: {error.message}", file=sys.stderr)
        return 1
    if arguments.print:
        print(lines, end="")
        return 0
    _leave_at_signals()
    wanted = sagemaker_container.model_folder(environ) / "code" / "requirements.txt"
    if wanted.is_file() and not sagemaker_container.several_models(environ):
        installed = subprocess.run([sys.executable, "-P", "-m", "pip", "install", "-r", wanted])
        if installed.returncode:
            print(f"{wanted} could not be installed", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="torchkeeper-sagemaker-") as folder:
        config = Path(folder) / "config.properties"
        config.write_text(lines)
        return torchserve(["--start", "--foreground", "--ncs", "--ts-config", str(config)])


def _export(arguments: argparse.Namespace) -> int:
    return export.run(arguments, process_environ().get("SOURCE_DATE_EPOCH"))


def _tune(arguments: argparse.Namespace) -> int:
    from torchkeeper.tune.command import run

    return run(arguments, process_environ())


def _doctor(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from torchkeeper.doctor import Verdict, examine, examine_places
    from torchkeeper.doctor.report import show

    environ, cwd = process_environ(), Path.cwd()
    findings = examine_places(arguments.paths, environ, cwd)
    if not arguments.paths or arguments.ts_config or arguments.model_store:
        findings += examine(arguments.ts_config, arguments.model_store, environ, cwd)
    show(findings, Console())
    return int(any(finding.verdict is Verdict.BROKEN for finding in findings))


def _inspect(arguments: argparse.Namespace) -> int:
    from torchkeeper.doctor.inspection import run

    key: Path | None = arguments.public_key
    return run(arguments.archive, () if key is None else (key,), as_json=arguments.json)


def _config(arguments: argparse.Namespace) -> int:
    try:
        settings, warnings = load_settings(
            CommandLine(ts_config=arguments.ts_config), process_environ(), Path.cwd()
        )
    except SettingsError as error:
        print(f"Invalid configuration: {error.message}", file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for key in KEYS:
        value = getattr(settings, key.name)
        shown = "" if value is None else "***" if key.secret and value else value
        shown = settings.texts.get(key.name, "") if key.json else shown
        origin = f"\t{settings.origins[key.name]}" if arguments.show_origin else ""
        print(f"{key.name}={shown}{origin}")
    for told in said_of_models(settings):
        origin = f"\t{settings.origins[told.source.value]}" if arguments.show_origin else ""
        print(f"{told}={told.value}{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(torchserve())
