"""DIN (Zhou et al. 2018), section 4.3: v_U = sum_t a(e_t, v_A) e_t, where a is an MLP that sees the event, the
target, and products of both; weights are not normalised unless `softmax` asks for it.

An event is the vectors of all histories at its position side by side, and the target is the vectors of their targets;
for a history without one, a learned vector stands there.
"""
import torch

from nn import masked_softmax


def target_of(inputs, net, history, rows):
    if history.target >= 0:
        return inputs.vector(net, inputs.fields[history.target])
    return net.parameter('query.' + history.name, 1, history.dim, init=('normal', 1e-4), is_weight=False).expand(rows, -1)


def logit(config, inputs, net):
    histories = inputs.histories()
    events = torch.cat([inputs.history(h) for h in histories], -1)  # [B, T, d]
    mask = inputs.mask(histories)
    target = torch.cat([target_of(inputs, net, h, len(events)) for h in histories], -1)[:, None, :].expand_as(events)
    pair = torch.cat([target, events, target - events, target * events], -1)
    weights = net.mlp_of('attention', pair, config.attention, [80, 40], activation='SIGMOID')[..., 0]
    weights = masked_softmax(weights, mask) if config.softmax else weights * mask
    interest = (weights[..., None] * events).sum(1)
    x = torch.cat([*(inputs.vector(net, f) for f in inputs.plain()), interest], 1)
    return net.mlp_of('mlp', x, config.mlp, [200, 80], activation='DICE', batch_norm=True)[:, 0]
