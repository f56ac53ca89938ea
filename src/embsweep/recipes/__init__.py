"""Three published fine-tunes: the facts of their model cards, compared with our configurations."""
