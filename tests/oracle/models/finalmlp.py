"""FinalMLP (Mao et al. 2023).

Feature selection, equations 5-6: each stream's input is the embeddings times 2 sigmoid(gate(c)), the gate an MLP of a
learned context. Fusion, equations 7-9: b + w_1^T o_1 + w_2^T o_2 + sum over heads of o_1h^T W_h o_2h.
"""
import math

import torch


def logit(config, inputs, net):
    fields = inputs.vectors(net)
    e = fields.flatten(1)
    streams = []
    for i, mlp in ((1, config.mlp1), (2, config.mlp2)):
        x = e
        if config.gating:
            context = net.parameter(f'gate{i}.context', fields.shape[2], init=('constant', 0.0), is_weight=False)
            context = context.expand(e.shape[0], -1)
            gate = net.mlp_of(f'gate{i}', context, config.gate, [800], outputs=e.shape[1])
            x = x * 2 * torch.sigmoid(gate)
        streams.append(net.mlp_of(f'mlp{i}', x, mlp, [400, 400, 400], outputs=0))
    a, b = streams
    heads = config.heads
    a_heads, b_heads = (s.reshape(s.shape[0], heads, -1) for s in streams)
    sizes = (heads, a_heads.shape[2], b_heads.shape[2])
    weight = net.parameter('bilinear', *sizes, init=('normal', math.sqrt(2 / (1 + math.prod(sizes)))))
    product = torch.einsum('bhi,hij,bhj->b', a_heads, weight, b_heads)
    return net.linear('linear1', a, 1)[:, 0] + net.linear('linear2', b, 1)[:, 0] + product
