"""InterFormer (arXiv 2411.09852).

X [n, d]: non-sequence tokens; S [T, d]: the events, then [n_sum CLS tokens; events]. Each layer:
  X_sum = Gate(C X)                                S_sum = Gate([S_CLS; S_PMA; S_recent])          Cross Arch
  X' = MLP(Interaction([X; S_sum]))                S' = MHA(PFFN(X_sum, S))
and after the last one further summaries, of which the head makes the logit. Both updates read the layer's inputs.
"""
import torch

from nn import pairwise_dots, swish


def self_gate(net, name, x):
    return torch.sigmoid(net.mlp(name, x, [x.shape[-1]], x.shape[-1], activation='SWISH'))


def gated(config, net, name, x):
    if config.gate == 'OPEN':
        return x
    if config.gate == 'LITERAL':
        return torch.sigmoid(x * net.mlp(name, x, [x.shape[-1]], x.shape[-1], activation='SWISH'))
    return x * self_gate(net, name, x)


def masknet(inputs, net, mask, d):
    """MaskNet: (S * sigmoid(MLP(S))) W_lce over the streams side by side; zero where there is no event."""
    s = torch.cat([inputs.history(h) for h in inputs.histories()], -1)
    return net.linear('masknet.compress', s * self_gate(net, 'masknet', s), d) * mask[..., None]


def non_sequence_summary(config, net, name, x):
    mixed = net.mix_tokens(name + '.summary.mix', x, config.summary_tokens, kaiming=False)
    return gated(config, net, name + '.summary.gate', mixed)


def sequence_summary(config, net, name, s, keys):
    name += '.sequence_summary'
    parts = [s[:, :config.summary_tokens]]
    if config.pma_tokens:
        queries = net.parameter(name + '.queries', config.pma_tokens, s.shape[2], init=('normal', 0.02))
        parts.append(net.multi_head(name + '.pma', queries.expand(s.shape[0], -1, -1), s, config.heads, keys=keys))
    if config.recent_tokens:
        parts.append(s[:, -config.recent_tokens:])
    return gated(config, net, name + '.gate', torch.cat(parts, 1))


def cross(config, net, name, z):
    """DCN: z * (z W + b) + z."""
    u = z
    if config.cross_rank:
        u = net.linear(name + '.compress', u, config.cross_rank, bias=False)
    return z * net.linear(name, u, z.shape[1]) + z


def interaction(config, net, name, z, tokens):
    """DOT and DCN, summed with a shortcut, LayerNorm; then tokens are mixed down to `tokens`."""
    rows, m, d = z.shape
    flat = z.flatten(1)
    parts = []
    if config.backbone in ('DHEN', 'DOT'):
        parts.append(net.linear(name + '.dot', pairwise_dots(z), m * d))
    if config.backbone in ('DHEN', 'DCN'):
        parts.append(cross(config, net, name + '.cross', flat))
    if config.ensemble == 'CONCAT':
        parts = [net.linear(name + '.ensemble', torch.cat(parts, 1), m * d)]
    h = net.layer_norm(name + '.norm', (sum(parts) + flat).reshape(rows, m, d))
    h = net.mix_tokens(name + '.mix', h, tokens, kaiming=False)
    return swish(net.linear(name + '.linear', h, d))


def personalised(config, net, name, x_sum, s):
    """PFFN: S W, where the summary makes W [d, d]: X_sum^T U, or an MLP of it."""
    d = s.shape[2]
    if config.pffn == 'LOW_RANK':
        u = net.parameter(name + '.weight', d, x_sum.shape[1], init=('normal', (2 / (d + x_sum.shape[1])) ** 0.5))
        w = torch.einsum('id,bij->bdj', u.t(), x_sum)
    else:
        w = net.mlp(name, x_sum.flatten(1), [2 * d], d * d, activation='SWISH').reshape(-1, d, d)
    return s @ w


def sequence(config, net, name, x_sum, s, keys):
    if config.pffn != 'NO_PFFN':
        s = net.layer_norm(name + '.pffn.norm', s + personalised(config, net, name + '.pffn', x_sum, s))
    if config.attention:
        seen = net.multi_head(name + '.attention', s, s, config.heads, rotary=True, keys=keys)
        s = net.layer_norm(name + '.attention.norm', s + seen)
    return s * keys[..., None]


def tokens_of(inputs, net, pool_histories):
    """X_1: one token of all numbers, W_dense x; a token for each other field."""
    numbers = [f for f in inputs.plain() if f.kind == 'numeric']
    others = [f for f in inputs.plain() if f.kind != 'numeric']
    d = inputs.histories()[0].dim
    tokens = []
    if numbers:
        values = torch.stack([inputs.column(f).number for f in numbers], 1)
        tokens.append(net.linear('dense', values, d, bias=False))
    tokens += [inputs.vector(net, f) for f in others]
    if pool_histories:
        for h in inputs.histories():
            tokens.append(inputs.history(h).sum(1) / inputs.mask([h]).sum(1).clamp(min=1)[:, None])
    return torch.stack(tokens, 1)


def logit(config, inputs, net):
    x = tokens_of(inputs, net, config.flow == 'SOLE')
    has_sequence, d, rows = config.flow != 'SOLE', x.shape[2], x.shape[0]
    if has_sequence:
        mask = inputs.mask(inputs.histories())
        s = masknet(inputs, net, mask, d)
        keys = torch.cat([torch.ones(rows, config.summary_tokens, dtype=torch.bool), mask], 1)
    for l in range(1, config.layers + 1):
        name = f'layer{l}'
        if config.flow in ('INT', 'N2S'):
            x_sum = non_sequence_summary(config, net, name, x)
        elif has_sequence:  # nothing flows that way: learned tokens stand for the summary
            learned = net.parameter(name + '.learned_summary', config.summary_tokens, d, init=('normal', 0.02))
            x_sum = learned.expand(rows, -1, -1)
        if has_sequence and l == 1:
            s = torch.cat([x_sum, s], 1)
        z = x
        if config.flow in ('INT', 'S2N'):
            z = torch.cat([x, sequence_summary(config, net, name, s, keys)], 1)
        x = interaction(config, net, name + '.interaction', z, x.shape[1])
        if has_sequence:
            s = sequence(config, net, name, x_sum, s, keys)
    summaries = [non_sequence_summary(config, net, 'final', x)]
    if has_sequence:
        summaries.append(sequence_summary(config, net, 'final', s, keys))
    head = torch.cat(summaries, 1).flatten(1)
    return net.mlp_of('head', head, config.head, [1024, 512, 256, 128], activation='SWISH')[:, 0]
