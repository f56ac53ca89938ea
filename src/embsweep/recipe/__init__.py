"""The three published fine-tunes: their facts, and how a recipe of ours differs from them."""
