# A script that runs inside Redis, compiled by TorchScript. A history is float[n]: the last amounts that a card paid.
# A purchase is float[3]: amount, hour of the day, kilometres from the last one.


def features(tensors: List[Tensor], keys: List[str], args: List[str]):
    history, purchase = tensors[0], tensors[1]
    amounts = torch.log(history)
    unusual = (torch.log(purchase[0]) - amounts.mean()) / (amounts.std() + 0.1)
    at_night = (purchase[1] - 3.0).abs() < 3.0
    return torch.stack([unusual, at_night.float(), torch.log1p(purchase[2])]).unsqueeze(0)
