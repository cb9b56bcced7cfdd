"""DeepFM (Guo et al. 2017), equations 1-4: y_FM + y_DNN, both on the same embeddings."""
from models import fm


def logit(config, inputs, net):
    deep = net.mlp_of('mlp', inputs.vectors(net).flatten(1), config.mlp, [300, 300, 300])
    return fm.logit(config, inputs, net) + deep[:, 0]
