"""InterFormer (arXiv 2411.09852).

X [n, d]: non-sequence tokens; S [T, d]: the events, then [n_sum CLS tokens; events]. Each layer:
  X_sum = Gate(C X)                                S_sum = Gate([S_CLS; S_PMA; S_recent])          Cross Arch
  X' = MLP(Interaction([X; S_sum]))                S' = MHA(PFFN(X_sum, S))
and after the last one further summaries, of which the head makes the logit. Both updates read the layer's inputs.
"""
import torch

from nn import pairwise_dots, swish


def mask_net(net, streams, mask, d):
    """MaskNet: (S * sigmoid(MLP(S))) W_lce over the streams side by side; zero where there is no event."""
    s = torch.cat(streams, -1)
    gate = torch.sigmoid(net.mlp('mask', s, [s.shape[-1]], s.shape[-1], activation='SWISH'))
    return net.linear('events', s * gate, d) * mask[..., None]


def gated(config, net, name, x):
    if config.gate == 'OPEN':
        return x
    u = net.mlp(name, x, [x.shape[-1]], x.shape[-1], activation='SWISH')
    return x * torch.sigmoid(u) if config.gate == 'SELF' else torch.sigmoid(x * u)


def non_sequence_summary(config, net, name, x):
    mixed = net.mix_tokens(name + '.compress', x, config.summary_tokens, kaiming=False)
    return gated(config, net, name + '.gate_x', mixed)


def sequence_summary(config, net, name, s, keys):
    parts = [s[:, :config.summary_tokens]]
    if config.pma_tokens:
        queries = net.parameter(name + '.pma.queries', config.pma_tokens, s.shape[2], init=('normal', 0.02))
        parts.append(net.multi_head(name + '.pma', queries.expand(s.shape[0], -1, -1), s, config.heads, keys=keys))
    if config.recent_tokens:
        parts.append((s * keys[..., None])[:, s.shape[1] - config.recent_tokens:])
    return gated(config, net, name + '.gate_s', torch.cat(parts, 1))


def interaction(config, net, name, z, tokens):
    """DOT and DCN, summed with a shortcut, LayerNorm; then tokens are mixed down to `tokens`."""
    rows, m, d = z.shape
    flat = z.flatten(1)
    parts = []
    if config.backbone in ('DHEN', 'DOT'):
        parts.append(net.linear(name + '.dot', pairwise_dots(z), m * d))
    if config.backbone in ('DHEN', 'DCN'):
        if config.cross_rank:
            u = net.linear(name + '.cross.up', net.linear(name + '.cross.down', flat, config.cross_rank, bias=False), m * d)
        else:
            u = net.linear(name + '.cross', flat, m * d)
        parts.append(flat * u + flat)
    if config.ensemble == 'CONCAT':
        parts = [net.linear(name + '.ensemble', torch.cat(parts, 1), m * d)]
    h = net.layer_norm(name + '.norm', (sum(parts) + flat).reshape(rows, m, d))
    h = net.mix_tokens(name + '.mix', h, tokens, kaiming=False)
    return swish(net.linear(name + '.mlp', h, d))


def personalised(config, net, name, x_sum, s):
    """PFFN: S W with W [d, d] made from the summary."""
    d = s.shape[2]
    if config.pffn == 'LOW_RANK':
        u = net.linear(name, s, x_sum.shape[1], bias=False)  # S U^T
        return u @ x_sum
    w = net.mlp(name, x_sum.flatten(1), [2 * d], d * d, activation='SWISH')
    return s @ w.reshape(-1, d, d)


def sequence(config, net, name, x_sum, s, keys):
    if config.pffn != 'NO_PFFN':
        s = net.layer_norm(name + '.norm1', s + personalised(config, net, name + '.pffn', x_sum, s))
    if config.attention:
        s = net.layer_norm(name + '.norm2', s + net.multi_head(name + '.attention', s, s, config.heads, rotary=True, keys=keys))
    return s * keys[..., None]


def logit(config, inputs, net):
    raise NotImplementedError
