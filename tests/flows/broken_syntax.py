import redisAI


@redisAI.flow("never")
def never(:
    pass
