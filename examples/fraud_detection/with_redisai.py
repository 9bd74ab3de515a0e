"""Judges purchases, each in one round trip. Uses the client `redisai`."""

import argparse

import numpy as np
import redisai

import training

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redisai.Client(host="127.0.0.1", port=parser.parse_args().port)

LIMIT = "0.9"

client.scriptstore("fraud:features", "CPU", training.FEATURES, ["features"])
client.scriptstore("fraud:decisions", "CPU", training.DECISIONS, ["remember"])
client.modelstore("fraud:model", "ONNX", "CPU", training.as_onnx(training.train()))

random = np.random.default_rng(7)
history, usual = training.card(random)
client.tensorset("history:7", history)
client.delete("alarms:7")


def judge(card, amount, hour, distance):
    """The probability of fraud. The history of the card goes on with this purchase, unless it is one."""
    history, alarms = f"history:{card}", f"alarms:{card}"
    dag = client.dag(load=[history], persist=[history], timeout=1000)
    dag.tensorset("purchase", np.array([amount, hour, distance], np.float32))
    dag.scriptexecute("fraud:features", "features", inputs=[history, "purchase"], outputs=["features"])
    dag.modelexecute("fraud:model", ["features"], ["fraud"])
    judged = [history, "purchase", "fraud"]
    dag.scriptexecute("fraud:decisions", "remember", keys=[alarms], inputs=judged, args=[LIMIT], outputs=[history])
    dag.tensorget("fraud")
    return float(dag.execute()[-1][0, 0])


for fraud in (False, False, True, False, True, False):
    amount, hour, distance = map(float, training.purchase(random, usual, fraud))
    probability = judge(7, amount, hour, distance)
    verdict = "ALARM" if probability > float(LIMIT) else "fine"
    print(f"{amount:8.2f} at {hour:4.1f} h, {distance:6.0f} km away: {probability:6.1%}  {verdict}")
print(f"alarms of card 7: {int(client.get('alarms:7') or 0)}")
