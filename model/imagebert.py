"""ImageBERT: one encoder over regions and word pieces, and four heads on it (paper, sections 2 and 3).

    pack -> Embeddings -> [T, D] -> Encoder -> [T, D] -> heads, on masked places and first tokens only

Letters and layout: model/inputs.py.
"""
from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.config import ModelConfig
from model.inputs import REGION_POSITION, SEGMENT_IMAGE, Pack


@dataclasses.dataclass(frozen=True, slots=True)
class Outputs:
    """What one forward says; the losses (model/losses.py) read it."""

    mlm_logits: Tensor             # [M, V]
    moc_logits: Tensor             # [N, C]
    mrfr_features: Tensor          # [N, F]
    itm_logits: Tensor             # [S], of "belongs together"
    contrast_images: Tensor | None   # [K, d] of length 1; None without contrastive projections
    contrast_texts: Tensor | None    # [K, d]
    contrast_scale: Tensor | None    # [], 1 / temperature


class ImageBert(nn.Module):
    """Embeddings, encoder, heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.attention_dropout = config.attention_dropout
        self.recompute = False         # in the backward, layer by layer, instead of keeping activations
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.pooler = nn.Linear(config.hidden, config.hidden)
        self.mlm = WordHead(config, self.embeddings.words)
        self.moc = nn.Linear(config.hidden, config.num_classes)         # section 3.2: one fully connected layer
        self.mrfr = nn.Linear(config.hidden, config.feature_dim)        # section 3.3
        self.itm = nn.Linear(config.hidden, 1)                          # section 3.4
        self.contrast = Contrast(config) if config.contrastive_dim else None
        self.apply(functools.partial(_initialise, deviation=config.initial_range))

    def forward(self, pack: Pack) -> Outputs:
        """Returns all four tasks' outputs (and the contrastive vectors) from one pass over the encoder."""
        hidden_TD = self.encode(pack)
        pooled_SD = torch.tanh(self.pooler(hidden_TD[pack.first_tokens]))
        masked_regions_ND = hidden_TD[pack.masked_region_tokens]
        images, texts, scale = None, None, None
        if self.contrast is not None:
            first_SD = hidden_TD[pack.first_tokens]
            images = self.contrast.of_images(first_SD[pack.contrast_images])
            texts = self.contrast.of_texts(first_SD[pack.contrast_texts])
            scale = self.contrast.log_scale.exp()
        return Outputs(
            mlm_logits=self.mlm(hidden_TD[pack.masked_word_tokens]),
            moc_logits=self.moc(masked_regions_ND),
            mrfr_features=self.mrfr(masked_regions_ND),
            itm_logits=self.itm(pooled_SD).squeeze(-1),
            contrast_images=images, contrast_texts=texts, contrast_scale=scale)

    def encode(self, pack: Pack) -> Tensor:
        """Returns the last hidden states, [T, D]."""
        x_TD = self.embeddings(pack)
        attend = attention_over(pack, x_TD, self.attention_dropout if self.training else 0.0)
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x_TD = checkpoint(layer, x_TD, attend, use_reentrant=False)
            else:
                x_TD = layer(x_TD, attend)
        return x_TD

    def match(self, pack: Pack) -> Tensor:
        """Returns the ITM logits alone, [S]: what retrieval ranks by."""
        return self.itm(torch.tanh(self.pooler(self.encode(pack)[pack.first_tokens]))).squeeze(-1)

    def contrast_vectors(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """Returns [K, d] image and [K, d] text vectors of length 1; raises ValueError without projections."""
        if self.contrast is None:
            raise ValueError("this model has no contrastive projections (contrastive_dim is 0)")
        first_SD = self.encode(pack)[pack.first_tokens]
        return (self.contrast.of_images(first_SD[pack.contrast_images]),
                self.contrast.of_texts(first_SD[pack.contrast_texts]))


class Embeddings(nn.Module):
    """Words: LN(word + segment + position).  Regions: LN(feature + location + segment + dummy position) (2.4, 2.5)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden)
        self.positions = nn.Embedding(config.max_positions, config.hidden)
        self.segments = nn.Embedding(2, config.hidden)
        self.features = nn.Linear(config.feature_dim, config.hidden)
        self.location = nn.Linear(5, config.hidden)
        self.word_norm = nn.LayerNorm(config.hidden, config.layer_norm_eps)
        self.region_norm = (self.word_norm if config.shared_layernorm
                            else nn.LayerNorm(config.hidden, config.layer_norm_eps))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, pack: Pack) -> Tensor:
        """Returns the embedded token stream, [T, D]."""
        words_WD = self.words(pack.word_ids) + self.positions(pack.word_positions) + self.segments(pack.word_segments)
        constant_D = self.positions.weight[REGION_POSITION] + self.segments.weight[SEGMENT_IMAGE]
        places_UD = self.location(pack.geometry.to(constant_D.dtype))
        seen_RD = self.project(pack)
        parts = [self.word_norm(words_WD), self.region_norm(seen_RD + places_UD[pack.region_rows] + constant_D)]
        if len(pack.region_sequences):
            parts.append(self.region_norm(self.whole_images(pack, seen_RD) + constant_D))
        return self.dropout(torch.cat(parts)[pack.token_source])

    def whole_images(self, pack: Pack, seen_RD: Tensor) -> Tensor:
        """Returns the feature and location of each sequence's whole image, [S, D].

        The mean of its regions' features, projected as they are, with the box of the whole image (ViLBERT's [IMG]; the
        paper's global feature, section 2.8, comes from a network of its own).  A hidden region is not in the mean.
        """
        visible_R1 = pack.region_visible.to(seen_RD.dtype)[:, None]
        owners_R, sequences = pack.region_sequences, len(pack.first_tokens)
        sums_SD = seen_RD.new_zeros(sequences, seen_RD.shape[1]).index_add(
            0, owners_R, (seen_RD - self.features.bias) * visible_R1)
        counts_S1 = seen_RD.new_zeros(sequences, 1).index_add(0, owners_R, visible_R1)
        place_D = self.location.weight[:, 2:].sum(dim=1) + self.location.bias      # of the box 0, 0, 1, 1 of area 1
        return sums_SD / counts_S1.clamp(min=1) + self.features.bias + place_D

    def project(self, pack: Pack) -> Tensor:
        """Returns the projected features of the regions as the model may see them, [R, D].

        Features stay as they are stored, u8 or f16, up to here; scale and zero point act on the D outputs instead of
        the F inputs.  A hidden region's feature is multiplied by 0, so nothing of it but its place reaches the model:
        the same as zeroing it before the projection (section 3.2).
        """
        weight = self.features.weight
        raw_UD = F.linear(pack.features.to(weight.dtype), weight)
        shift_UD = pack.zero.to(weight.dtype)[:, None] * weight.sum(dim=1)
        seen_UD = (raw_UD - shift_UD) * pack.scale.to(weight.dtype)[:, None]
        visible_R1 = pack.region_visible.to(weight.dtype)[:, None]
        return seen_UD[pack.region_rows] * visible_R1 + self.features.bias


class Block(nn.Module):
    """One layer as in BERT: attention, then feed-forward, each added and normalised after (section 2.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.attention_out = nn.Linear(config.hidden, config.hidden)
        self.attention_norm = nn.LayerNorm(config.hidden, config.layer_norm_eps)
        self.expand = nn.Linear(config.hidden, config.intermediate)
        self.contract = nn.Linear(config.intermediate, config.hidden)
        self.output_norm = nn.LayerNorm(config.hidden, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TD: Tensor, attend: Attention) -> Tensor:
        """Returns the layer's output, [T, D]."""
        qkv = self.qkv(x_TD).view(len(x_TD), 3, self.heads, -1)
        mixed_TD = attend(qkv)
        x_TD = self.attention_norm(x_TD + self.dropout(self.attention_out(mixed_TD)))
        return self.output_norm(x_TD + self.dropout(self.contract(F.gelu(self.expand(x_TD)))))


# qkv [T, 3, heads, D / heads] -> [T, D]; a token sees its own sequence only
Attention = Callable[[Tensor], Tensor]


def attention_over(pack: Pack, x_TD: Tensor, dropout: float) -> Attention:
    """Returns the attention of a pack: variable-length kernel on a GPU in half precision, else padded views."""
    half = x_TD.is_cuda and (x_TD.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cuda"))
    if half and not dropout:      # the kernel has no dropout (training.md section 5)
        from torch.nn.attention.varlen import varlen_attn  # it brings Triton along, which no CPU needs

        def attend(qkv: Tensor) -> Tensor:
            q, k, v = qkv.unbind(1)
            mixed_TD = cast(Tensor, varlen_attn(q, k, v, pack.cu_seqlens, pack.cu_seqlens, pack.longest, pack.longest))
            return mixed_TD.reshape(len(qkv), -1)
        return attend
    views = _padded_views(pack.cu_seqlens, pack.longest, len(x_TD))

    def attend_padded(qkv: Tensor) -> Tensor:
        mixed = [view(qkv[first:last], dropout) for first, last, view in views]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)
    return attend_padded


def _padded_views(cu_seqlens: Tensor, longest: int, tokens: int) -> list[tuple[int, int, PaddedAttention]]:
    """Returns (first token, last token, attention) of one view, or of two where that saves padding.

    Joint sequences come first and are twice as long as image-only and text-only ones, so one cut halves the work.
    Only on the CPU and not compiled: elsewhere shapes must not depend on data.
    """
    count = len(cu_seqlens) - 1
    if cu_seqlens.is_cuda or torch.compiler.is_compiling() or count < 2:
        return [(0, tokens, PaddedAttention(cu_seqlens, longest, tokens))]
    lengths = cu_seqlens.diff().long()
    before = lengths.cummax(0).values[:-1]
    after = lengths.flip(0).cummax(0).values.flip(0)[1:]
    place = torch.arange(1, count)
    cut = int((place * before.square() + (count - place) * after.square()).argmin()) + 1
    at = int(cu_seqlens[cut])
    if at in (0, tokens):
        return [(0, tokens, PaddedAttention(cu_seqlens, longest, tokens))]
    return [(0, at, PaddedAttention(cu_seqlens[:cut + 1], int(before[cut - 1]), at)),
            (at, tokens, PaddedAttention(cu_seqlens[cut:] - at, int(after[cut - 1]), tokens - at))]


class PaddedAttention:
    """Attention through a padded view: sequences gathered to [S, L], attended under a mask, gathered back."""

    def __init__(self, cu_seqlens: Tensor, longest: int, tokens: int) -> None:
        starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff().long()
        place = torch.arange(longest, device=cu_seqlens.device)
        self.longest = longest
        self.gather = (starts[:, None] + place).clamp_(max=max(tokens - 1, 0)).view(-1)     # [S * L]
        # An empty sequence attends to one token nobody reads: a row without any key would be NaN.
        self.mask = (place < lengths.clamp(min=1)[:, None])[:, None, None, :]               # [S, 1, 1, L]
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=cu_seqlens.device), lengths,
                                        output_size=tokens)
        self.back = owner * longest + torch.arange(tokens, device=cu_seqlens.device) - starts[owner]   # [T]

    def __call__(self, qkv: Tensor, dropout: float) -> Tensor:
        """Returns [T, D] for qkv [T, 3, heads, D / heads]."""
        tokens, _, heads, size = qkv.shape
        padded = qkv.reshape(tokens, -1)[self.gather].view(-1, self.longest, 3, heads, size)
        q, k, v = padded.permute(2, 0, 3, 1, 4)                     # each [S, heads, L, size]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(-1, heads * size)[self.back]


class WordHead(nn.Module):
    """Masked words: transform, then the word embeddings as decoder (tied), as in BERT."""

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__()
        self.transform = nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden, config.vocab_size)
        self.decoder.weight = words.weight

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Returns [M, V] logits."""
        return self.decoder(self.norm(F.gelu(self.transform(hidden_MD))))


class Contrast(nn.Module):
    """Projections of image-only and text-only sequences into one space (not in the paper; DESIGN.md, align)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.images = nn.Linear(config.hidden, config.contrastive_dim)
        self.texts = nn.Linear(config.hidden, config.contrastive_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.initial_temperature)))

    def of_images(self, first_KD: Tensor) -> Tensor:
        """Returns [K, d] vectors of length 1."""
        return F.normalize(self.images(first_KD), dim=-1)

    def of_texts(self, first_KD: Tensor) -> Tensor:
        """Returns [K, d] vectors of length 1."""
        return F.normalize(self.texts(first_KD), dim=-1)


def _initialise(module: nn.Module, deviation: float) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=deviation)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
