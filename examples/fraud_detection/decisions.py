# A script that runs inside Redis: the history after a purchase. What looks like fraud is counted, and must not become
# what is usual for the card.


def remember(tensors: List[Tensor], keys: List[str], args: List[str]):
    history, purchase, score = tensors[0], tensors[1], tensors[2]
    if float(score) > float(args[0]):
        redis.execute("INCR", keys[0])
        return history
    return torch.cat([history[1:], purchase[:1]])
