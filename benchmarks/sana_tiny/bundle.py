"""Write the pictures that the project carries, from the npm package @lobehub/fluent-emoji-3d (MIT).

    python -m benchmarks.sana_tiny.bundle

pictures/: 64 of many shapes. fruit-and-vegetables/: the 36 that the bundled model has never seen, which the demo
teaches it. things/: 128 that it knows, so that it does not forget them over that; it is judged by none of them.
"""

from PIL import Image

from benchmarks.sana_tiny.pictures import PRODUCE, PROJECT, fetch_pictures, framed, judged, picked, things

ASSETS = PROJECT / "assets"
MANY_SHAPES = """
red apple|banana|avocado|broccoli|carrot|cherries|coconut|grapes|green apple|kiwi fruit|lemon|mango|melon|peach|pear
pineapple|potato|strawberry|tangerine|tomato|watermelon|ear of corn|eggplant|hot pepper|mushroom|pizza|hamburger|pretzel
doughnut|cookie|birthday cake|ice cream|hot beverage|teapot|rocket|bus|automobile|bicycle|locomotive|sailboat|airplane
guitar|violin|trumpet|drum|books|light bulb|umbrella|key|crown|gem stone|red heart|star|sun|snowman|cactus|sunflower
rose|deciduous tree|panda|penguin|owl|butterfly|tropical fish
"""


def main() -> None:
    """Write all three folders; the licences in them were written by hand, as the package has none."""
    found = fetch_pictures()
    many_shapes = [name for line in MANY_SHAPES.split("\n") for name in line.split("|") if name]
    others = sorted(set(things(found)) - set(judged(found)))
    _write("pictures", {name: found[name] for name in many_shapes})
    _write("fruit-and-vegetables", {name: _small(found[name]) for name in PRODUCE})
    _write("things", {name: _small(found[name]) for name in picked(others, 128, "things")})


def _small(picture: Image.Image) -> Image.Image:
    return framed(picture, "1x1").resize((144, 144), Image.Resampling.LANCZOS)


def _write(folder: str, pictures: dict[str, Image.Image]) -> None:
    (ASSETS / folder).mkdir(exist_ok=True)
    for old in (ASSETS / folder).glob("*.webp"):
        old.unlink()
    for name, picture in pictures.items():
        picture.save(ASSETS / folder / f"{name}.webp", quality=90, method=6)
    print(f"{len(pictures)} pictures in {ASSETS / folder}")


if __name__ == "__main__":
    main()
