"""Logistic regression: the sum of one weight per feature value, plus a bias."""


def logit(config, inputs, net):
    return inputs.vectors(net)[:, :, 0].sum(1) + net.bias('bias', 1)
