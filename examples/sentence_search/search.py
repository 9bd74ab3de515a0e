# A script that runs inside Redis, compiled by TorchScript. All vectors have the length 1, so that their products are
# the cosines of the angles between them.


def nearest(tensors: List[Tensor], keys: List[str], args: List[str]):
    vectors, question = tensors[0], tensors[1][0]
    return torch.topk(torch.matmul(vectors, question), int(args[0]))
