"""DCN-V2 (Wang et al. 2021).

Cross layer, equation 1: x_{l+1} = x_0 * (W_l x_l + b_l) + x_l; low rank, equation 2: W_l = U_l V_l^T.
Structures, figure 1: parallel joins [x_L; h] before the logit, stacked feeds x_L to the deep part.
"""
import torch


def cross_network(config, net, x0):
    x = x0
    for l in range(config.cross_layers):
        name, width = f'cross{l}', x0.shape[1]
        if config.low_rank:
            u = net.linear(name + '.u', net.linear(name + '.v', x, config.low_rank, bias=False), width)
        else:
            u = net.linear(name, x, width)
        x = x0 * u + x
    return x


def logit(config, inputs, net):
    x0 = inputs.vectors(net).flatten(1)
    x = cross_network(config, net, x0)
    if config.structure == 'PARALLEL':
        x = torch.cat([x, net.mlp_of('mlp', x0, config.mlp, [500, 500, 500], outputs=0)], 1)
    elif config.structure == 'STACKED':
        x = net.mlp_of('mlp', x, config.mlp, [500, 500, 500], outputs=0)
    return net.linear('logit', x, 1)[:, 0]
