"""MGDIN, Multi-Granularity Information-Aware Deferred Interaction Network (arXiv 2603.12586).

Fields are ordered by information density and cut into windows of g fields; each granularity g is a branch:
  X_0 = W [window's fields side by side] + b                            [M, D_b]
  A_0 = (X_0 Q_1)(X_0 K_1)^T, of which layer l of L sees the k_l = floor(l / L M^2) largest entries
  X'  = LN(Z + X), Z = att(mask, X Q_l, X K_l) X V_l                    (6)
  X'' = LN(PFFN(X') + X')                                               (7)
The logit is an MLP of the branches' token means, side by side. A mask is a constant to the gradient.
"""
import math

import torch

from nn import attention, gelu, ranks


def ordered(config, inputs):
    fields = inputs.plain()
    if config.order == 'DENSITY':
        return sorted(fields, key=lambda f: -f.density)
    if config.order == 'DENSITY_REVERSED':
        return sorted(fields, key=lambda f: f.density)
    if config.order == 'RANDOM':
        return [fields[i] for i in inputs.drawn['order']]
    return fields


def windows_of(config, fields, window):
    """Fields in windows; None, an all-zero dummy, fills up the sparse end."""
    dummies = [None] * (-len(fields) % window)
    padded = dummies + fields if config.order == 'DENSITY_REVERSED' else fields + dummies
    return [padded[i:i + window] for i in range(0, len(padded), window)]


def shown_groups(config, windows, l):
    """Which groups layer l sees: the ceil(l / L M) with the highest mean density of their fields."""
    def mean(window):
        densities = [f.density for f in window if f is not None]
        return sum(densities) / len(densities)
    order = sorted(range(len(windows)), key=lambda g: -mean(windows[g]))
    return set(order[:-(-l * len(windows) // config.layers)])


def mask_of(config, inputs, windows, l, scores):
    """[B or 1, M, M], or None where all pairs are active. scores: A_0."""
    m = len(windows)
    active = min(max(l * m * m // config.layers, 1), m * m)
    if config.schedule == 'ALL':
        return None
    if config.schedule == 'PAIR':
        mask = ranks(scores) < active
    elif config.schedule == 'PAIR_REVERSED':
        mask = ranks(-scores) < active
    elif config.schedule == 'PAIR_RANDOM':
        mask = torch.zeros(m * m, dtype=torch.bool)
        mask[inputs.drawn[f'pairs.{len(windows[0])}'][:active]] = True
        mask = mask.reshape(1, m, m)
    else:
        shown = shown_groups(config, windows, l)
        mask = torch.tensor([[[(i in shown and j in shown) or i == j for j in range(m)] for i in range(m)]])
    return mask | torch.eye(m, dtype=torch.bool) if config.force_diagonal else mask


def feed_forward(config, net, name, x):
    linear = net.linear if config.shared_ffn else net.per_token_linear
    h = net.dropout(gelu(linear(name + '.0', x, config.ffn_factor * config.width)), config.dropout)
    return net.dropout(linear(name + '.1', h, config.width), config.dropout)


def branch(config, inputs, net, fields, size):
    name = f'branch{size}'
    windows = windows_of(config, fields, size)
    vectors = [[torch.zeros_like(inputs.vector(net, fields[0])) if f is None else inputs.vector(net, f) for f in window]
               for window in windows]
    x = net.linear(name + '.project', torch.stack([torch.cat(v, 1) for v in vectors], 1), config.width)
    scores = None
    for l in range(1, config.layers + 1):
        layer = f'{name}.layer{l}'
        q = net.linear(layer + '.query', x, config.attention_width, bias=False)
        k = net.linear(layer + '.key', x, config.attention_width, bias=False)
        v = net.linear(layer + '.value', x, config.width, bias=False)
        if scores is None:
            scores = q.detach() @ k.detach().transpose(1, 2)
        mask = mask_of(config, inputs, windows, l, scores)
        z = attention(q, k, v, mask=mask, softmax=config.attention == 'SOFTMAX')
        x = net.layer_norm(layer + '.attention.norm', z + x)
        x = net.layer_norm(layer + '.ffn.norm', feed_forward(config, net, layer + '.ffn', x) + x)
    return x.mean(1) if config.pooling == 'MEAN' else x.flatten(1)


def logit(config, inputs, net):
    fields = ordered(config, inputs)
    parts = [branch(config, inputs, net, fields, size) for size in config.granularity or [1, 2, 4]]
    return net.mlp_of('head', torch.cat(parts, 1), config.head, [256, 128])[:, 0]
