"""Shape-only twins of published models: random weights in the modules, pooling and prompts that the models have."""

import json

WORDS = (
    *("query", "passage", "task", "search", "result", "instruct"),
    *("title", "none", "text", "river", "engine", "court"),
)
TWIN_PROMPTS = {
    "arctic-embed-l-v2.0": {"query": "query: "},
    "qwen3-embedding-0.6b": {"query": "Instruct: find passages about rivers\nQuery:", "document": ""},
    "embeddinggemma-300m": {
        "query": "task: search result | query: ",
        "document": "title: none | text: ",
        "Retrieval-query": "task: search result | query: ",
    },
}
"""The prompts in the twins' files; the others have none, as the models of the e5 family."""

_POOLINGS = {"arctic-embed-l-v2.0": "cls", "gte-multilingual-base": "cls", "qwen3-embedding-0.6b": "lasttoken"}
_UNNORMALISED = ("paraphrase-multilingual-mpnet-base-v2",)


def make_twin(preset, dim, folder):
    """Save the twin of a preset to `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        StaticEmbedding,
        Transformer,
    )

    torch.manual_seed(0)
    if preset.startswith("potion"):
        tokenizer = make_tokenizer(special=False)
        modules = [StaticEmbedding(tokenizer, embedding_dim=dim), Normalize()]
    else:
        modules = [Transformer(str(save_transformer(preset, dim, folder / "transformer")))]
        modules.append(Pooling(dim, _POOLINGS.get(preset, "mean")))
        if preset.startswith("embeddinggemma"):
            linear = {"bias": False, "activation_function": torch.nn.Identity()}
            modules += [Dense(dim, 4 * dim, **linear), Dense(4 * dim, dim, **linear)]
        if preset not in _UNNORMALISED:
            modules.append(Normalize())
    model = SentenceTransformer(modules=modules, prompts=TWIN_PROMPTS.get(preset), device="cpu")
    return save(model, folder / "model")


def save(model, folder):
    """Save a model without a card; return the folder."""
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def write_prompts(folder, prompts):
    """Replace the prompts in a model's files."""
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": prompts}))


def make_tokenizer(*, special):
    """Return a tokenizer of `WORDS` and signs; with special tokens it begins texts with <s> and ends them with </s>."""
    from tokenizers import Tokenizer, normalizers
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    vocabulary = {word: row for row, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", ":", "|", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    if special:
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A </s>", special_tokens=[(word, vocabulary[word]) for word in ("<s>", "</s>")]
        )
    return tokenizer


def save_transformer(preset, dim, folder, limit=64):
    """Save a transformer of one layer and its tokenizer, without sentence-transformers' files; return the folder."""
    from transformers import (
        Gemma3TextConfig,
        Gemma3TextModel,
        GteConfig,
        GteModel,
        PreTrainedTokenizerFast,
        Qwen3Config,
        Qwen3Model,
        XLMRobertaConfig,
        XLMRobertaModel,
    )

    tokenizer = make_tokenizer(special=True)
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": dim, "num_hidden_layers": 1, "pad_token_id": 0}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 8, "max_position_embeddings": limit + 2}
    decoder = {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2}
    if preset.startswith("qwen3"):
        network = Qwen3Model(Qwen3Config(**sizes, **decoder))
    elif preset.startswith("embeddinggemma"):
        network = Gemma3TextModel(Gemma3TextConfig(**sizes, **decoder, use_bidirectional_attention=True))
    elif preset.startswith("gte"):
        network = GteModel(GteConfig(**sizes))
    else:
        network = XLMRobertaModel(XLMRobertaConfig(**sizes))
    network.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=limit,
        padding_side="left" if preset.startswith("qwen3") else "right",
        **{"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ).save_pretrained(folder)
    return folder
