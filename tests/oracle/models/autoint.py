"""AutoInt (Song et al. 2019).

Equations 5-8: in each head, a field's new feature is the sum of all fields' values weighted by the softmax of inner
products of queries and keys; heads are joined; then ReLU(joined + W_res e), with W_res where widths differ. Equation 9:
one linear map of all fields' features. AutoInt+ adds an MLP over the embeddings.
"""
from models import fm
from nn import relu


def logit(config, inputs, net):
    first = inputs.vectors(net)
    e = first
    for l in range(config.layers):
        name = f'layer{l + 1}'
        new = net.multi_head(name, e, e, config.heads, bias=False, output=False, width=config.width,
                             scale=None if config.scale else 1.0)
        if config.residual:
            same = e.shape[2] == config.width
            new = new + (e if same else net.linear(name + '.residual', e, config.width, bias=False))
        e = relu(new)
    z = net.linear('logit', e.flatten(1), 1)[:, 0]
    if config.mlp.hidden:
        z = z + net.mlp_of('mlp', first.flatten(1), config.mlp, [])[:, 0]
    if config.linear:
        z = z + fm.first_order(inputs, net, bias=False)
    return z
