"""What the log says of a server first."""

from __future__ import annotations

import os
import sys

from torchkeeper import TORCHSERVE_VERSION, __version__
from torchkeeper.config.intel import pinning, said_of_intel
from torchkeeper.config.settings import Settings
from torchkeeper.machine.hardware import cpu_count


def banner(settings: Settings) -> list[str]:
    """What TorchServe prints at start, as far as it means something here."""
    return [
        f"Torchserve version: {TORCHSERVE_VERSION} (torchkeeper {__version__})",
        f"Current directory: {os.getcwd()}",
        f"Temp directory: {settings.temp_dir}",
        f"Number of CPUs: {cpu_count()}",
        f"Python executable: {sys.executable}",
        f"Inference address: {settings.inference_address}",
        f"Management address: {settings.management_address}",
        f"Metrics address: {settings.metrics_address}",
        f"Metrics mode: {settings.metrics_mode}",
        f"Model Store: {settings.store_url or settings.model_store}",
        f"Initial Models: {','.join(settings.load_models) or 'N/A'}",
        f"Log dir: {settings.log_location}",
        f"Metrics dir: {settings.metrics_location}",
        f"Default workers per model: {settings.default_workers_per_model or cpu_count()}",
        f"Maximum Request Size: {settings.max_request_size}",
        f"Maximum Response Size: {settings.max_response_size}",
        f"Limit Maximum Image Pixels: {str(settings.limit_max_image_pixels).lower()}",
        f"Allowed Urls: [{'|'.join(pattern.pattern for pattern in settings.allowed_urls)}]",
        f"Model API enabled: {str(settings.enable_model_api).lower()}",
        *said_of_intel(
            settings.ipex_enable, pinning(settings.cpu_launcher_enable, settings.cpu_launcher_args)
        ),
    ]
