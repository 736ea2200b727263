"""Make the built-in model anew as a converted file, and say how large a wheel with it is: see --help."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from squeezeops.pipelines import default_model
from squeezeops.squeezebert.convert import convert

LEFT = ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")  # what the file replaces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the file to write, such as sentiment.safetensors")
    parser.add_argument("--dtype", default="int8", choices=("int8", "float16", "float32"))
    parser.add_argument(
        "--wheel", type=Path, help="a wheel with the model in Hugging Face's layout, to compute its size"
    )
    arguments = parser.parse_args()
    done = convert(default_model(), arguments.out, dtype=arguments.dtype, force=True)
    print(f"{arguments.out}: {done.dtype}, {done.bytes_after:,} bytes")
    if arguments.wheel:
        before, without = arguments.wheel.stat().st_size, 0
        with zipfile.ZipFile(arguments.wheel) as wheel:
            for entry in wheel.infolist():
                if "/models/sentiment/" in entry.filename and entry.filename.endswith(LEFT):
                    without += entry.compress_size
        print(f"wheel: {before:,} bytes, {before - without + compressed(arguments.out):,} with it instead")


def compressed(path: Path) -> int:
    """The size that a file has in a wheel."""
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return len(packer.compress(path.read_bytes()) + packer.flush())


if __name__ == "__main__":
    main()
