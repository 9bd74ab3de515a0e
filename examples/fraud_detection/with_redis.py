"""Judges purchases, each in one round trip. Uses the plain client `redis`."""

import argparse

import numpy as np
import redis

import training

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redis.Redis(port=parser.parse_args().port)

LIMIT = "0.9"


def store(key, function, source):
    client.execute_command("AI.SCRIPTSTORE", key, "CPU", "ENTRY_POINTS", 1, function, "SOURCE", source)


store("fraud:features", "features", training.FEATURES)
store("fraud:decisions", "remember", training.DECISIONS)
client.execute_command("AI.MODELSTORE", "fraud:model", "ONNX", "CPU", "BLOB", training.as_onnx(training.train()))

random = np.random.default_rng(7)
history, usual = training.card(random)
client.execute_command("AI.TENSORSET", "history:7", "FLOAT", len(history), "BLOB", history.tobytes())
client.delete("alarms:7")


def judge(card, amount, hour, distance):
    """The probability of fraud. The history of the card goes on with this purchase, unless it is one."""
    history, alarms = f"history:{card}", f"alarms:{card}"
    replies = client.execute_command(
        *("AI.DAGEXECUTE", "LOAD", 1, history, "PERSIST", 1, history, "TIMEOUT", 1000),
        *("|>", "AI.TENSORSET", "purchase", "FLOAT", 3, "VALUES", amount, hour, distance),
        *("|>", "AI.SCRIPTEXECUTE", "fraud:features", "features"),
        *("INPUTS", 2, history, "purchase", "OUTPUTS", 1, "features"),
        *("|>", "AI.MODELEXECUTE", "fraud:model", "INPUTS", 1, "features", "OUTPUTS", 1, "fraud"),
        *("|>", "AI.SCRIPTEXECUTE", "fraud:decisions", "remember", "KEYS", 1, alarms),
        *("INPUTS", 3, history, "purchase", "fraud", "ARGS", 1, LIMIT, "OUTPUTS", 1, history),
        *("|>", "AI.TENSORGET", "fraud", "VALUES"),
    )
    return float(replies[-1][0])


for fraud in (False, False, True, False, True, False):
    amount, hour, distance = map(float, training.purchase(random, usual, fraud))
    probability = judge(7, amount, hour, distance)
    verdict = "ALARM" if probability > float(LIMIT) else "fine"
    print(f"{amount:8.2f} at {hour:4.1f} h, {distance:6.0f} km away: {probability:6.1%}  {verdict}")
print(f"alarms of card 7: {int(client.get('alarms:7') or 0)}")
