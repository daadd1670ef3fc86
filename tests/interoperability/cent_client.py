"""Uses the server API with Centrifugo's library for Python, and prints what came of it as JSON.

Usage: cent_client.py URL KEY
"""

import json
import sys

from cent import (
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PublishRequest,
    StreamPosition,
)

CHANNEL = "orders:ann"
ORDER = {
    "message_type": "Created",
    "data": {
        "order_id": "1", "user_id": "ann", "symbol": "ENERGY", "side": "buy", "price": "3.41", "quantity": "2",
        "filled_quantity": "0", "status": "open", "timestamp": 1,
    },
}


def error_of(call):
    try:
        call()
    except CentApiResponseError as error:
        return error.code
    except CentUnauthorizedError:
        return "unauthorized"
    return None


def main(url, key):
    client = Client(url, key)
    told = {}
    first = client.publish(PublishRequest(channel=CHANNEL, data=ORDER, tags={"side": "buy"}, idempotency_key="a"))
    again = client.publish(PublishRequest(channel=CHANNEL, data=ORDER, idempotency_key="a"))
    told["publish"] = [first.offset, again.offset, first.epoch == again.epoch]
    broadcast = client.broadcast(BroadcastRequest(channels=["orderbook:E", "orderbook:F", "nothing"], data={"bid": 1.50}))
    told["broadcast"] = [each.error.code if each.error else each.result.offset for each in broadcast.responses]
    history = client.history(HistoryRequest(channel=CHANNEL, limit=10))
    told["history"] = [[each.offset, each.data["order_id"], each.tags] for each in history.publications]
    position = StreamPosition(offset=history.offset, epoch=history.epoch)
    told["after"] = len(client.history(HistoryRequest(channel=CHANNEL, limit=10, since=position)).publications)
    wrong = StreamPosition(offset=history.offset, epoch="_")
    told["wrong"] = error_of(lambda: client.history(HistoryRequest(channel=CHANNEL, limit=10, since=wrong)))
    batch = client.batch(
        BatchRequest(requests=[PublishRequest(channel="orderbook:E", data=2), HistoryRequest(channel=CHANNEL)])
    )
    told["batch"] = [batch.replies[0].offset, batch.replies[1].offset]
    client.history_remove(HistoryRemoveRequest(channel=CHANNEL))
    told["removed"] = len(client.history(HistoryRequest(channel=CHANNEL, limit=10)).publications)
    told["channels"] = client.channels(ChannelsRequest(pattern="orders:*")).channels
    told["nodes"] = [node.name for node in client.info(InfoRequest()).nodes]
    told["unknown"] = error_of(lambda: client.publish(PublishRequest(channel="nothing", data=1)))
    told["stranger"] = error_of(lambda: Client(url, "wrong").publish(PublishRequest(channel=CHANNEL, data=ORDER)))
    print(json.dumps(told))


main(sys.argv[1], sys.argv[2])
