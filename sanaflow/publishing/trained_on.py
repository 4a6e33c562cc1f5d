"""What a model learned from, in words: counts and sizes, no names and no paths."""

from sanaflow.cache.index import CaptionCache, LatentCache

SIZES = 8


def trained_on(latents: LatentCache, captions: CaptionCache) -> str:
    """A list for the model card."""
    entries = latents.entries
    learned = entries[entries["role"] != "eval"]
    pictures, kept = learned["id"].nunique(), learned.loc[learned["role"] == "regularisation", "id"].nunique()
    measured = set(entries.loc[entries["role"] == "eval", "id"])
    held_out, shown = len(measured - set(learned["id"])), len(measured & set(learned["id"]))
    texts = captions.captions.loc[captions.captions["id"].isin(learned["id"]), "caption"].nunique()
    sizes = learned.drop_duplicates(["id", "width", "height"]).groupby(["width", "height"]).size()
    sizes = sizes.sort_values(ascending=False, kind="stable")
    listed = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes[:SIZES].items())
    more = f" and {len(sizes) - SIZES} more" if len(sizes) > SIZES else ""
    lines = [f"- pictures: {pictures:,}, with {texts:,} captions", f"- sizes in pixels: {listed}{more}"]
    if kept:
        lines.append(f"- of these, to keep it from forgetting (regularisation): {kept:,}")
    if held_out:
        lines.append(f"- held out, to measure the loss on: {held_out:,}")
    if shown:
        lines.append(f"- of those trained on, to measure the loss on: {shown:,}")
    return "\n".join(lines)
