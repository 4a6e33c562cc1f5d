"""The pictures that the tiny Sana is made of: Microsoft's Fluent Emoji in 3D (MIT), by their CLDR names.

Transparent margins are cut off, which leaves each its natural aspect ratio. Skin tones, flags, clock faces, keycaps
and emoji joined from others are left out: they are variants of few pictures.
"""

import hashlib
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from math import log
from pathlib import Path

import emoji
from PIL import Image

from sanaflow.errors import InputError

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / ".sana-tiny"
"""For everything between the pictures and the bundled model."""
EDGE = 128
"""Pixels of a square picture of the model."""
PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
ANOTHER_HAND = "emoji-datasource-google@16.0.0"
"""Google's Noto emoji (Apache-2.0), for a judge that is to know things by name without having seen these pictures."""
SHA256 = {
    PACKAGE: "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ANOTHER_HAND: "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
}
PRODUCE = (
    *("grapes", "melon", "watermelon", "tangerine", "lemon", "banana", "pineapple", "mango"),
    *("red apple", "green apple", "pear", "peach", "cherries", "strawberry", "blueberries", "kiwi fruit"),
    *("tomato", "olive", "coconut", "avocado", "eggplant", "potato", "carrot", "ear of corn"),
    *("hot pepper", "bell pepper", "cucumber", "leafy green", "broccoli", "garlic", "onion", "peanuts"),
    *("beans", "chestnut", "ginger root", "pea pod"),
)
"""Fruits and vegetables: nothing of the model has ever seen them, so that the demo has something to teach it."""
SIGNS = {
    *("button", "arrow", "arrows", "symbol", "input", "sign", "square", "circle", "triangle"),
    *("diamond", "question", "exclamation", "mark", "asterisk", "speaker", "phones", "smoking", "littering"),
    *("bicycles", "pedestrians", "loop", "plus", "minus", "divide", "multiply", "suit", "under"),
    *("entry", "trade", "aries", "taurus", "gemini", "cancer", "leo", "virgo", "libra"),
    *("scorpio", "sagittarius", "capricorn", "aquarius", "pisces", "ophiuchus", "information", "copyright"),
    *("registered", "dash", "cross", "equals", "sparkle", "eight-pointed", "medium-small", "circled", "curly", "part"),
}
"""Words of names of signs: written on a tile, or so plain that they say nothing to look at."""


def fetch_pictures(package: str = PACKAGE, folder: Path = WORK / "package") -> dict[str, Image.Image]:
    """A package's pictures by lower-case name, RGBA without margins; it is fetched by npm once.

    Raises:
        InputError: npm isn't there or can't fetch it, or it isn't the one that was tested.
    """
    place = folder / package.strip("@").replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    if not list(place.glob("*.tgz")):
        try:
            subprocess.run(["npm", "pack", "--silent", package], cwd=place, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(f"npm can't fetch {package} ({error}): install npm, or look at the network") from None
    [archive] = place.glob("*.tgz")
    content = archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[package]:
        raise InputError(f"'{archive}' isn't the {package} that was tested: delete it and run this again")
    with tarfile.open(fileobj=BytesIO(content)) as files:
        return dict(_named(files))


def _named(files: tarfile.TarFile) -> Iterator[tuple[str, Image.Image]]:
    names = {}
    for character, data in emoji.EMOJI_DATA.items():
        names["-".join(f"{ord(c):x}" for c in character)] = data["en"].strip(":").replace("_", " ").lower()
    seen = set()
    for member in sorted(files.getmembers(), key=lambda m: m.name):
        stem = Path(member.name).stem
        name = names.get(stem) or names.get(f"{stem}-fe0f") or names.get(stem.replace("-fe0f", ""))
        if not member.name.endswith((".webp", ".png")) or name is None or name in seen or _is_variant(stem):
            continue
        seen.add(name)
        picture = Image.open(BytesIO(files.extractfile(member).read())).convert("RGBA")  # type: ignore[union-attr]
        yield name, picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox())


def _is_variant(stem: str) -> bool:
    """By its code points: a skin tone, a flag, a clock face, a keycap, or joined from others."""
    points = [int(point, 16) for point in stem.split("-")]
    return (
        any(0x1F3FB <= p <= 0x1F3FF or 0x1F1E6 <= p <= 0x1F1FF or p in (0x200D, 0x20E3) for p in points)
        or 0x1F550 <= points[0] <= 0x1F567
        or points[0] == 0x1F51F
        or (points[0] == 0x1F3F4 and len(points) > 2)
    )


LEARNED = 512
"""So many pictures a model of 20 MB keeps in the two hours that a stage may take on two cores, of the 994 there are."""


def things(names: Iterable[str]) -> list[str]:
    """What the transformer learns: no fruits or vegetables, no people or hands (all with skin tones), no signs."""
    toned = {data["en"].strip(":").replace("_", " ").lower() for data in emoji.EMOJI_DATA.values()}
    fitting = [
        name
        for name in names
        if name not in PRODUCE and not SIGNS & set(name.split()) and f"{name} light skin tone" not in toned
    ]
    return picked(fitting, LEARNED, "learned")


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, what is transparent white."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def judged(names: Iterable[str]) -> list[str]:
    """64 names that the transformer learns, by which it is judged."""
    return picked(things(names), 64, "judged")


def picked(names: list[str], count: int, purpose: str) -> list[str]:
    """So many of the names by chance that depends on nothing but names and purpose."""
    return sorted(sorted(names, key=lambda name: hashlib.sha256(f"{purpose}/{name}".encode()).digest())[:count])


FRAMES = {"3x5": 3 / 5, "1x1": 1.0, "5x3": 5 / 3}
"""Width / height of the sizes of about 128 x 128 pixels whose edges 32 divides, as `SanaPipeline` wants them."""
MARGIN = 0.04


def natural_frame(picture: Image.Image) -> str:
    """The frame whose shape is nearest, by the ratio of ratios."""
    own = picture.width / picture.height
    return min(FRAMES, key=lambda frame: abs(log(own / FRAMES[frame])))


def framed(picture: Image.Image, frame: str) -> Image.Image:
    """In the middle of a transparent canvas of the frame's shape, with a small margin; at most 256 pixels long."""
    ratio = FRAMES[frame]
    height = max(picture.height, picture.width / ratio) * (1 + 2 * MARGIN)
    scale = min(1.0, 256 / max(height, height * ratio))
    canvas = Image.new("RGBA", (round(height * ratio * scale), round(height * scale)))
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    canvas.paste(small, ((canvas.width - small.width) // 2, (canvas.height - small.height) // 2))
    return canvas


def write_pictures(pictures: Mapping[str, Image.Image], folder: Path) -> None:
    """`square/` holds every picture, `natural/` those again that are far from a square; two captions each."""
    for name, picture in pictures.items():
        for kind, frame in (("square", "1x1"), ("natural", natural_frame(picture))):
            if kind == "natural" and frame == "1x1":
                continue
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            framed(picture, frame).save(path, compress_level=1)
            path.with_suffix(".txt").write_text(f"{name}\na {name}\n")
