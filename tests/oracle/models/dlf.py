"""DLF, Dynamic Low-Order-Aware Fusion (arXiv 2505.19182).

E1 [F, d]: the first layer's embeddings; E [N, d]: a layer's input. Streams of tokens in this order:
  Z_C  high-rank   MLP(LN(vec(E  (E^T Y_C))))
  Z_L  low-rank    MLP(LN(vec(X0 (E^T Y_L)))),  X0 = P^T E1 (E1 itself where the token counts agree)
  Z_D  implicit    W_D^T E
  att  ("att_cross") MLP(LN(vec(MHA(E)^T))), read as [d, n_att] and turned
E' = LN(fusion(streams) + R^T (gate * E)); the head is an MLP of vec(E_{L+1}).
Drawn form of the blocks: ReLU(W_O^T G + b), and ReLU(W_D^T E + b) for the implicit one.
"""
import torch

from nn import attention, relu


def multiplicative(config, net, name, left, e, first):
    d = e.shape[2]
    rank = d if config.rli_output == 'DRAWN' else config.rank
    compress = net.parameter(name + '.compress', e.shape[1], rank, init=('uniform', (6 / rank) ** 0.5))
    g = torch.einsum('bnd,bmd,mr->bnr', left, e, compress)
    if config.rli_output == 'DRAWN':
        return drawn(net, name, net.mix_tokens(name + '.output', g, first.shape[1]))
    v = net.layer_norm(name + '.norm', g.flatten(1))
    z = net.mlp(name + '.mlp', v, [config.hidden], config.block_tokens * d, batch_norm=config.batch_norm,
                dropout=config.dropout)
    return z.reshape(-1, config.block_tokens, d)


def drawn(net, name, mixed):
    return relu(mixed + net.bias(name + '.bias', *mixed.shape[1:]))


def attention_stream(config, net, name, e):
    rows, tokens, d = e.shape
    o = net.multi_head(name, e, e, config.heads, bias=False, output=False, scale=1.0)
    v = net.layer_norm(name + '.norm', o.transpose(1, 2).flatten(1))
    z = net.mlp(name + '.mlp', v, [config.hidden], config.attention_tokens * d, batch_norm=config.batch_norm,
                dropout=config.dropout)
    return z.reshape(rows, d, config.attention_tokens).transpose(1, 2)


def self_gate(net, name, streams):
    z = torch.cat(streams, 1)
    queries = net.parameter(name + '.queries', z.shape[1], z.shape[2], init=('normal', 1.0))
    means = torch.stack([s.mean(1) for s in streams], 1)  # [B, streams, d]
    gate = torch.softmax(net.linear(name + '.gate', means.flatten(1), len(streams)), -1)
    mixed = torch.einsum('bs,bsd->bd', gate, means)
    return attention(queries.expand(z.shape[0], -1, -1), z, z, scale=1.0) + mixed[:, None, :]


def layer(config, net, name, fusion, residual, first, e):
    streams = {}
    if config.high_rank_block:
        streams['high'] = multiplicative(config, net, name + '.high', e, e, first)
    if config.low_rank_block and fusion != 'SELF_GATE':
        x0 = first if first.shape[1] == e.shape[1] else net.mix_tokens(name + '.project', first, e.shape[1])
        streams['low'] = multiplicative(config, net, name + '.low', x0, e, first)
    if config.implicit_block:
        if config.rli_output == 'DRAWN':
            streams['implicit'] = drawn(net, name + '.implicit', net.mix_tokens(name + '.implicit', e, first.shape[1]))
        else:
            streams['implicit'] = net.mix_tokens(name + '.implicit', e, config.implicit_tokens)
    if config.attention_tokens:
        streams['attention'] = attention_stream(config, net, name + '.attention', e)
    z = torch.cat(list(streams.values()), 1)
    if fusion == 'ATTENTION':
        z = torch.cat([s + net.multi_head(f'{name}.fusion.{key}', s, z, config.heads) for key, s in streams.items()], 1)
    elif fusion == 'SELF_GATE':
        z = self_gate(net, name + '.fusion', list(streams.values()))
    if residual != 'NONE':
        kept = e
        if residual == 'FLOOR_GATE':
            kept = torch.clamp(net.linear(name + '.gate', e, e.shape[2], bias=False), min=1e-6) * e
        elif residual == 'SIGMOID_GATE':
            kept = torch.sigmoid(net.linear(name + '.gate', e, e.shape[2], bias=False)) * e
        if z.shape[1] != e.shape[1]:
            kept = net.mix_tokens(name + '.residual', kept, z.shape[1])
        z = z + kept
    return net.layer_norm(name + '.norm', z)


def logit(config, inputs, net):
    first = inputs.vectors(net)
    paper = config.profile == 'P'
    fusion = config.fusion if config.fusion != 'OF_PROFILE' else 'ATTENTION' if paper else 'JOIN'
    residual = config.residual if config.residual != 'RESIDUAL_OF_PROFILE' else 'FLOOR_GATE' if paper else 'PLAIN'
    e = first
    for l in range(1, config.layers + 1):
        e = layer(config, net, f'layer{l}', fusion, residual, first, e)
    head = net.mlp('head', e.flatten(1), [config.head_hidden], batch_norm=config.batch_norm, dropout=config.dropout)
    return head[:, 0]
