"""DIN (Zhou et al. 2018), section 4.3: v_U = sum_t a(e_t, v_A) e_t, where a is an MLP that sees the event, the
target, and products of both; weights are not normalised unless `softmax` asks for it.
"""
import torch

from nn import masked_softmax


def attend(config, net, name, events, target, mask):
    """events [B, T, d], target [B, d], mask [B, T] to [B, d]."""
    beside = target[:, None, :].expand_as(events)
    x = torch.cat([beside, events, beside - events, beside * events], -1)
    weights = net.mlp_of(name, x, config.attention, [80, 40], activation='SIGMOID')[..., 0]
    weights = masked_softmax(weights, mask) if config.softmax else weights * mask
    return (weights[..., None] * events).sum(1)


def logit(config, inputs, net):
    parts = [inputs.vector(net, f) for f in inputs.plain()]
    for history in inputs.histories():
        events, mask = inputs.history(history), inputs.mask([history])
        if history.target >= 0:
            target = inputs.vector(net, inputs.fields[history.target])
            parts.append(attend(config, net, 'attention.' + history.name, events, target, mask))
        else:
            parts.append(events.sum(1) / mask.sum(1).clamp(min=1)[:, None])
    return net.mlp_of('mlp', torch.cat(parts, 1), config.mlp, [200, 80], activation='DICE', batch_norm=True)[:, 0]
