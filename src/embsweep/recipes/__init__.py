"""The three published fine-tunes: facts of their cards, compared with our configurations."""
