"""Compiles the .proto files of torchkeeper.rpc to the one file of descriptors that the server reads."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import status_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).parents[1] / "src" / "torchkeeper" / "rpc" / "protos"
COMPILED = PROTOS / "descriptors.binpb"


def compiled() -> bytes:
    """The serialized FileDescriptorSet of all protos and their imports, imports first, without comments.

    Raises:
        SystemExit: protoc has complained on stderr.
    """
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        # google/rpc comes with googleapis-common-protos, google/protobuf with the compiler.
        google = Path(status_pb2.__file__).parents[2]
        includes = [PROTOS, Path(grpc_tools.__file__).parent / "_proto", google]
        arguments = [
            "protoc",
            *(f"--proto_path={folder}" for folder in includes),
            "--include_imports",
            f"--descriptor_set_out={out.name}",
            *sorted(path.name for path in PROTOS.glob("*.proto")),
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit(1)
        found = FileDescriptorSet.FromString(Path(out.name).read_bytes())
    return found.SerializeToString(deterministic=True)


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
    print(f"{COMPILED}: {COMPILED.stat().st_size} bytes", file=sys.stderr)
