from dataclasses import replace

import pandas as pd

from sanaflow.publishing.trained_on import trained_on


def test_it_counts_and_names_nothing(encode_sets, tmp_path):
    pictures = {
        "train": {"a.png": (64, 64), "b.png": (64, 64), "c.png": (96, 48)},
        "known": {"d.png": (64, 64)},
        "eval": {"e.png": (64, 64)},
    }
    said = trained_on(*encode_sets(pictures, known={"is_regularisation_data": True}))
    assert said.startswith("- pictures: 4, with 4 captions\n- sizes in pixels: 64x64 (3), ")
    assert "(regularisation): 1\n" in said
    assert said.endswith("held out, to measure the loss on: 1")
    assert str(tmp_path) not in said and "train" not in said


def test_pictures_that_are_measured_and_trained_on_are_not_called_held_out(encode_sets):
    latents, captions = encode_sets({"train": {"a.png": (64, 64)}})
    again = latents.entries.assign(role="eval", dataset="eval")
    said = trained_on(replace(latents, entries=pd.concat([latents.entries, again])), captions)
    assert "held out" not in said
    assert "of those trained on, to measure the loss on: 1" in said
