"""Make the model that ships with the package from its checkpoint.

    python examples/convert_builtin.py [--report]

The same checkpoint gives the same bytes, whatever the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from squeezeops.cli.convert import report
from squeezeops.squeezebert.convert import convert

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint", type=Path, default=HERE / "sentiment_checkpoint", help="a folder of train_sentiment.py"
    )
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "squeezeops" / "models" / "sentiment" / "model.safetensors"
    )
    parser.add_argument("--dtype", default="int8", choices=("int8", "float16", "float32"))
    parser.add_argument("--report", action="store_true", help="print what each layer is stored in, and its error")
    arguments = parser.parse_args()
    done = convert(arguments.checkpoint, arguments.out, dtype=arguments.dtype, force=True)
    if arguments.report:
        print("\n".join(report(done)))
    print(f"{arguments.out}: {done.dtype}, {done.bytes_after:,} bytes, from {done.bytes_before:,} of weights")


if __name__ == "__main__":
    main()
