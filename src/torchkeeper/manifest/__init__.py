"""`torchkeeper manifest`: the objects that run a server on Kubernetes, plain or under KServe, as YAML.

Pure: values in, objects out. Knows no cluster, and of the server only its command line, paths and
ports.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from torchkeeper.manifest.kserve import kserve_objects as kserve_objects
from torchkeeper.manifest.kubernetes import kubernetes_objects as kubernetes_objects
from torchkeeper.manifest.pod import Object
from torchkeeper.manifest.values import Values as Values


class _Plain(yaml.SafeDumper):
    """No anchors: what is said twice is written twice, since people edit these files."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_yaml(objects: Iterable[Object]) -> str:
    """The objects as one YAML stream, fields in the order in which they were made."""
    return yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, explicit_start=True, width=110)
