"""Make `assets/pictures/` from the npm package @lobehub/fluent-emoji-3d (MIT): 64 pictures named by what they show.

    npm pack @lobehub/fluent-emoji-3d@1.1.0
    python assets/build_pictures.py lobehub-fluent-emoji-3d-1.1.0.tgz

Transparent margins are cut off, so that the pictures have their natural aspect ratios and fall into several buckets.
"""

import argparse
import io
import tarfile
from pathlib import Path

import emoji
from PIL import Image

HERE = Path(__file__).resolve().parent
NAMES = """
red apple|banana|avocado|broccoli|carrot|cherries|coconut|grapes|green apple|kiwi fruit|lemon|mango|melon|peach|pear
pineapple|potato|strawberry|tangerine|tomato|watermelon|ear of corn|eggplant|hot pepper|mushroom|pizza|hamburger|pretzel
doughnut|cookie|birthday cake|ice cream|hot beverage|teapot|rocket|bus|automobile|bicycle|locomotive|sailboat|airplane
guitar|violin|trumpet|drum|books|light bulb|umbrella|key|crown|gem stone|red heart|star|sun|snowman|cactus|sunflower
rose|deciduous tree|panda|penguin|owl|butterfly|tropical fish
"""


def code_points_by_name() -> dict[str, str]:
    """Emoji names as CLDR has them, e.g. 'red apple', against the package's file stems, e.g. '1f34e'."""
    named = {}
    for character in emoji.EMOJI_DATA:
        name = emoji.demojize(character).strip(":").replace("_", " ").replace("-", " ")
        named.setdefault(name, "-".join(f"{ord(c):x}" for c in character))
    return named


def main() -> None:
    """Read the package's name from the command line."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("package", type=Path, help="the .tgz that `npm pack` wrote")
    with tarfile.open(cli.parse_args().package) as package:
        write_pictures(package)


def write_pictures(package: tarfile.TarFile) -> None:
    """Cut, name and write the pictures; the licence beside them was written by hand (the package has none)."""
    files = {Path(m.name).name: m for m in package.getmembers()}
    stems = code_points_by_name()
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    names = [name.strip() for line in NAMES.strip().splitlines() for name in line.split("|")]
    for name in names:
        member = files.get(f"{stems[name]}.webp") or files[f"{stems[name].replace('-fe0f', '')}.webp"]
        picture = Image.open(io.BytesIO(package.extractfile(member).read())).convert("RGBA")  # type: ignore[union-attr]
        picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox()).save(
            folder / f"{name}.webp", quality=90, method=6
        )
    print(f"{len(names)} pictures in {folder}")


if __name__ == "__main__":
    main()
