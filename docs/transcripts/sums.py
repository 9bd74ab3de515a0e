import redisAI


@redisAI.flow("total")
def total(*keys):
    """The sum of all elements of all tensors."""
    return sum(sum(redisAI.tensorToFlatList(redisAI.getTensorFromKey(key))) for key in keys)
